//! The login in force, and how a new one is read after the server has refused it.

use std::sync::{Arc, Mutex, PoisonError};

use keyway_sdk::Result;

use crate::{
    error,
    target::{Source, Target},
};

/// What connections are made with. Connections that are open keep the login that they were made with.
pub(crate) struct Login {
    source: Arc<Source>,
    present: Mutex<Arc<Target>>,
}

impl Login {
    /// Reads the settings.
    pub(crate) fn new(source: Source) -> Result<Self> {
        let present = Mutex::new(Arc::new(Target::read(&source)?));
        Ok(Self { source: Arc::new(source), present })
    }

    pub(crate) fn present(&self) -> Arc<Target> {
        Arc::clone(&self.present.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the settings say now, after the server has refused `refused`. None if they still say the same.
    pub(crate) async fn renewed(&self, refused: &Arc<Target>) -> Result<Option<Arc<Target>>> {
        let present = self.present();
        if !Arc::ptr_eq(&present, refused) {
            // Another connection has read it meanwhile.
            return Ok(Some(present));
        }
        let source = Arc::clone(&self.source);
        let read = tokio::task::spawn_blocking(move || Target::read(&source)).await;
        let target = read.map_err(|_| error::closed())??;
        if !target.is_at_the_place_of(refused) {
            return Err(error::settings(
                "the URL names another server or database now, and this backend stays with the one that it has opened; \
                 restart the server to use the other one",
            ));
        }
        if !target.may_differ_from(refused) {
            return Ok(None);
        }
        let target = Arc::new(target);
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&target);
        tracing::info!("the server refused the login, and another one was read from the settings");
        Ok(Some(target))
    }
}
