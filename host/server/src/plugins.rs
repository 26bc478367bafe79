//! Where the server finds its plugins.

use std::{
    env, io,
    path::{Path, PathBuf},
};

use keyway_loader::{History, Loader, Origin, Prober, SearchPath};

use crate::config::{Config, STAGING};

/// The command that loads a plugin in a separate process.
pub const PROBE_COMMAND: &str = "probe-plugin";

/// The loader that a configuration asks for, with its history in the data directory.
///
/// # Errors
///
/// When this program does not know its own file, from which it starts probes.
pub fn loader(config: &Config, plugin_dirs: &[PathBuf]) -> io::Result<Loader> {
    let staging_dir = config.data_dir.join(STAGING);
    Ok(Loader {
        search: search_path(plugin_dirs, &config.plugin_dirs),
        trust: config.trust.clone(),
        libraries: config.libraries.clone(),
        prober: Some(Prober::this_program(vec![PROBE_COMMAND.into()])?),
        history: History::new(staging_dir.clone()),
        staging_dir,
        host: env!("CARGO_PKG_VERSION").to_owned(),
        most_images: config.swaps.images,
    })
}

/// Where plugins are looked for, in the order in which the places count. Never the current directory.
pub fn search_path(command_line: &[PathBuf], configured: &[PathBuf]) -> Vec<SearchPath> {
    let named = |directory: &Path, origin| SearchPath { directory: directory.to_owned(), origin };
    let environment = env::var_os("KEYWAY_PLUGIN_PATH").unwrap_or_default();
    let mut search: Vec<SearchPath> =
        command_line.iter().map(|path| named(path, Origin::CommandLine)).collect();
    search.extend(
        env::split_paths(&environment)
            .filter(|path| path.is_absolute())
            .map(|path| named(&path, Origin::Environment)),
    );
    search.extend(configured.iter().map(|path| named(path, Origin::Configuration)));
    search.extend(user_plugins().map(|path| named(&path, Origin::User)));
    search.push(named(Path::new("/usr/lib/keyway/plugins"), Origin::System));
    let beside =
        env::current_exe().ok().and_then(|program| program.parent().map(|path| path.join("plugins")));
    search.extend(beside.map(|path| named(&path, Origin::Bundled)));
    search
}

/// By the XDG Base Directory Specification.
fn user_plugins() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data =
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")))?;
    Some(data.join("keyway/plugins"))
}
