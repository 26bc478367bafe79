//! A swap if the store may be open twice: no request waits.

use std::sync::Arc;

use super::{Chosen, SwapError, Swapping};
use crate::{Generation, failpoint, readback::Scratch};

impl Swapping {
    /// Opens a new generation next to the old one, and puts it into its place. `is_same` says that it must be
    /// the same store.
    pub(super) async fn open_side_by_side(
        &self,
        old: &Arc<Generation>,
        chosen: &Chosen,
        is_same: bool,
    ) -> Result<(), SwapError> {
        let scratch = Scratch::new()?;
        let is_marked = is_same && self.leave_mark(old, chosen, &scratch).await?;
        failpoint::reached("marked");
        let opened = match self.open(&chosen.plugin, &chosen.config).await {
            Ok(new) => {
                failpoint::reached("opened");
                match self.try_out(Some(old), &new, &scratch, is_marked).await {
                    Ok(()) => Ok(new),
                    Err(error) => {
                        self.discard(&new).await;
                        Err(error)
                    }
                }
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(new) => {
                failpoint::reached("tried");
                self.serve(old, new);
                self.retire(old);
                Ok(())
            }
            Err(error) => {
                if is_marked {
                    self.clean(old, &scratch).await;
                }
                Err(error)
            }
        }
    }
}
