//! A runtime is wanted, and the feature for it is not enabled.
use std::sync::Arc;

use keyway_sdk::{
    Backend, CallContext, Capabilities, Delete, DropKeyspace, Health, Key, OpenContext, Page, PluginInfo, Put, Record,
    Reply, Version,
    paging::ScanPlan,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "serde")]
#[schemars(crate = "schemars")]
struct Config {}

struct Store;

impl Backend for Store {
    type Config = Config;

    const RUNTIME_THREADS: usize = 1;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "my-store",
        version: "1.0.0",
        description: "",
        licence: "MIT",
        homepage: "",
        config_schema: r#"{"type": "object", "title": "}"}"#,
        data_format: 1,
        capabilities: Capabilities::LEAST,
        extensions: &[],
    };

    fn open(_config: Config, _context: OpenContext) -> Reply<Self> {
        Reply::ready(Ok(Self))
    }

    fn get(self: &Arc<Self>, _call: &CallContext<'_>, _key: Key<'_>) -> Reply<Option<Record>> {
        unreachable!()
    }

    fn put(self: &Arc<Self>, _call: &CallContext<'_>, _put: Put<'_>) -> Reply<Version> {
        unreachable!()
    }

    fn delete(self: &Arc<Self>, _call: &CallContext<'_>, _delete: Delete<'_>) -> Reply<bool> {
        unreachable!()
    }

    fn scan(self: &Arc<Self>, _call: &CallContext<'_>, _plan: ScanPlan<'_>) -> Reply<Page> {
        unreachable!()
    }

    fn keyspaces(self: &Arc<Self>, _call: &CallContext<'_>, _after: &str) -> Reply<Vec<String>> {
        unreachable!()
    }

    fn drop_keyspace(self: &Arc<Self>, _call: &CallContext<'_>, _drop: DropKeyspace<'_>) -> Reply<bool> {
        unreachable!()
    }

    fn health(self: &Arc<Self>, _call: &CallContext<'_>) -> Reply<Health> {
        unreachable!()
    }
}

keyway_sdk::export_backend!(Store);

fn main() {}
