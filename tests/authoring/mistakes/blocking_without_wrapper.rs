//! A backend with blocking methods is exported without `Blocking`.
use keyway_sdk::{
    BlockingBackend, Capabilities, Delete, DropKeyspace, Health, Key, OpenContext, Page, PluginInfo, Put, Record, Result,
    Version,
    paging::ScanPlan,
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "serde")]
#[schemars(crate = "schemars")]
struct Config {}

struct Store;

impl BlockingBackend for Store {
    type Config = Config;

    const PLUGIN: PluginInfo = PluginInfo {
        name: "store",
        version: "1.0.0",
        description: "",
        licence: "MIT",
        homepage: "",
        config_schema: "{}",
        data_format: 1,
        capabilities: Capabilities::LEAST,
        extensions: &[],
    };

    fn open(_config: Config, _context: OpenContext) -> Result<Self> {
        unreachable!()
    }

    fn get(&self, _key: Key<'_>) -> Result<Option<Record>> {
        unreachable!()
    }

    fn put(&self, _put: Put<'_>) -> Result<Version> {
        unreachable!()
    }

    fn delete(&self, _delete: Delete<'_>) -> Result<bool> {
        unreachable!()
    }

    fn scan(&self, _plan: ScanPlan<'_>) -> Result<Page> {
        unreachable!()
    }

    fn keyspaces(&self, _after: &str) -> Result<Vec<String>> {
        unreachable!()
    }

    fn drop_keyspace(&self, _drop: DropKeyspace<'_>) -> Result<bool> {
        unreachable!()
    }

    fn health(&self) -> Result<Health> {
        unreachable!()
    }
}

keyway_sdk::export_backend!(Store);

fn main() {}
