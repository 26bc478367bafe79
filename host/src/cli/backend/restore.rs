//! `keyway backend archive`, `restore` and `adopt`: for a store that no server has open.

use std::{
    io,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use keyway_loader::{
    BackendConfig, CallContext, Chain, ConfigureError, ConnectError, ErrorCode, Loader, Requirement,
    RestoreMode,
    archive::{self, ArchiveError, Header},
    connect::RestoreError,
};
use keyway_server::{config::Config, loader};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::cli::failure::{Failure, of_config};
use keyway_terminal::output::{Format, pairs, print};

#[derive(Debug, Args)]
pub(in crate::cli) struct Restore {
    #[command(flatten)]
    store: Store,
    /// The backup.
    file: PathBuf,
    /// Replace the records of the store; without it, only an empty store takes a backup.
    #[arg(long)]
    replace: bool,
    /// Take a backup of another backend.
    #[arg(long)]
    of_another: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Archive {
    #[command(flatten)]
    store: Store,
    /// The file; it must not exist yet.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Store {
    /// Which backend.
    name: String,
    /// The server's configuration.
    #[arg(long)]
    config: PathBuf,
    /// Directories to look for plugins in, before all others.
    #[arg(long)]
    plugin_dir: Vec<PathBuf>,
    /// Another version than the configuration asks for, as NAME@REQUIREMENT.
    #[arg(long)]
    plugin: Option<String>,
}

/// The parts that open a store in this process.
struct Site {
    loader: Loader,
    plugin: Requirement,
    backend: BackendConfig,
    runtime: Runtime,
}

impl Site {
    fn of(store: &Store) -> Result<Self, Failure> {
        let config = Config::read(&store.config).map_err(of_config)?;
        let settings = config.backends.get(&store.name).ok_or_else(|| {
            let names: Vec<_> = config.backends.keys().map(String::as_str).collect();
            let (name, names) = (&store.name, names.join(", "));
            Failure::NotFound(format!("there is no backend {name:?}; there are: {names}"))
        })?;
        let plugin = match &store.plugin {
            Some(plugin) => Requirement::parse(plugin).map_err(Failure::Usage)?,
            None => settings.wanted.plugin.clone(),
        };
        let backend = BackendConfig {
            name: store.name.clone(),
            config: settings.config.clone(),
            data_dir: config.data_dir.clone(),
        };
        let loader = loader(&config, &store.plugin_dir)
            .map_err(|error| Failure::Other(format!("find this program's own file: {error}")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Other(format!("start the runtime: {error}")))?;
        Ok(Self { loader, plugin, backend, runtime })
    }
}

/// With the plugin that the configuration asks for, in this process.
pub(super) fn restore(given: &Restore, format: Format) -> Result<(), Failure> {
    let (header, _) =
        archive::verify(&given.file).map_err(|error| Failure::Other(Chain(&error).to_string()))?;
    let Site { loader, plugin, backend, runtime } = Site::of(&given.store)?;
    let mode = if given.replace { RestoreMode::REPLACE } else { RestoreMode::INTO_EMPTY };
    let restored = runtime.block_on(loader.restore_store(&plugin, &backend, &given.file, mode));
    let (plugin, records) = restored.map_err(failure)?;
    let used = plugin.descriptor().label();
    let told =
        json!({ "backend": backend.name, "plugin": used, "records": records, "backup_of": header.backend });
    print(format, &told, || {
        pairs(&[
            ("Backend", backend.name.clone()),
            ("Plugin", used.clone()),
            ("Records", records.to_string()),
            ("Backup", format!("of backend {}, data format {}", header.backend, header.data_format)),
            ("Next", "start the server, unseal it, and rotate the key: keyway rotate".to_owned()),
        ])
    })?;
    Ok(())
}

/// Uses the configured plugin, in this process. Refuses a store without a record: an operator can hardly mean
/// it.
pub(super) fn archive(given: &Archive, format: Format) -> Result<(), Failure> {
    let Site { loader, plugin, backend, runtime } = Site::of(&given.store)?;
    let file = std::path::absolute(&given.file)
        .map_err(|source| Failure::Usage(format!("{}: {source}", given.file.display())))?;
    let written = runtime.block_on(async {
        let generation = loader.open_as_it_is(&plugin, &backend).await?;
        let descriptor = generation.plugin().descriptor();
        let header = Header {
            backend: backend.name.clone(),
            plugin: descriptor.name.clone(),
            version: descriptor.version.clone(),
            data_format: generation.capabilities().data_format,
            made: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        };
        let written = archive::write(&generation, &header, &file).await;
        generation.shutdown(&CallContext::background()).await.map_err(ArchiveError::Store)?;
        Ok((descriptor.label(), written?))
    });
    let (used, records) = written.map_err(failure)?;
    if records == 0 {
        // The file holds no record, so nothing is lost.
        let _kept = std::fs::remove_file(&file);
        let message = format!("the store of backend {:?} is empty: nothing was written", backend.name);
        return Err(Failure::Refused(message));
    }
    let told = json!({ "backend": backend.name, "plugin": used, "records": records, "file": file });
    print(format, &told, || {
        pairs(&[
            ("Backend", backend.name.clone()),
            ("Plugin", used.clone()),
            ("Records", records.to_string()),
            ("File", file.display().to_string()),
        ])
    })?;
    Ok(())
}

/// Opens the store and closes it again: its format is known from then on.
pub(super) fn adopt(store: &Store, format: Format) -> Result<(), Failure> {
    let Site { loader, plugin, backend, runtime } = Site::of(store)?;
    let opened = runtime.block_on(async {
        let generation = loader.open_as_it_is(&plugin, &backend).await?;
        let described = (generation.plugin().descriptor().label(), generation.capabilities().data_format);
        generation.shutdown(&CallContext::background()).await.map_err(ArchiveError::Store)?;
        Ok(described)
    });
    let (used, data_format) = opened.map_err(failure)?;
    let told = json!({ "backend": backend.name, "plugin": used, "data_format": data_format });
    print(format, &told, || {
        pairs(&[
            ("Backend", backend.name.clone()),
            ("Plugin", used.clone()),
            ("Data format", data_format.to_string()),
            ("Next", "start the server, unseal it, and rotate the key: keyway rotate".to_owned()),
        ])
    })?;
    Ok(())
}

fn failure(error: RestoreError) -> Failure {
    let text = |error: &dyn std::error::Error| Chain(error).to_string();
    match error {
        RestoreError::Connect(ConnectError::Configure(error @ ConfigureError::Open { .. })) => {
            Failure::Unavailable(format!("{}; see that no server has the store open", text(&error)))
        }
        RestoreError::Archive(ArchiveError::File { doing, path, source })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            Failure::NotFound(format!("{doing} {}: {source}", path.display()))
        }
        RestoreError::Archive(ArchiveError::Store(error)) if error.code() == ErrorCode::INVALID_ARGUMENT => {
            Failure::Refused(format!("{error}; a store that is not empty takes a backup only with --replace"))
        }
        RestoreError::Volatile { .. } => Failure::Refused(text(&error)),
        RestoreError::Load(error) => Failure::Other(error.to_string()),
        error => Failure::Other(text(&error)),
    }
}
