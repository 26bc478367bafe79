//! Servers on PostgreSQL: one while the database is in trouble, and several on one database.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "for tests, which fail by panicking"
)]

mod chaos;
mod grow;
mod hosts;
mod outages;
mod swap;

use keyway_e2e::{Server, Site, built};
use keyway_private_postgres as private;

/// A configured place for a server on that database.
fn site(database: &private::Server) -> Site {
    site_as(&database.url())
}

fn site_as(url: &str) -> Site {
    let site = Site::new("memory");
    let plugins = built();
    site.configure(&format!(
        "listen = \"127.0.0.1:0\"\ndata_dir = \"data\"\nplugin_dirs = [{:?}]\nsystem_backend = \"main\"\n\n\
         [trust]\npolicy = \"lock\"\n\n[backends.main]\nplugin = \"postgres\"\nconfig = {{ url = {url:?} }}\n\n\
         [mounts.secret]\nbackend = \"main\"\n",
        plugins.to_str().unwrap()
    ));
    site
}

/// What `sys/health` says, and its status.
fn health(server: &Server) -> (u16, serde_json::Value) {
    let answer = server.get("sys/health", "");
    (answer.status, answer.json())
}
