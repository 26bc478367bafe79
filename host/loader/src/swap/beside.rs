//! A swap where the store may be open twice: nobody waits.

use std::sync::Arc;

use super::{Chosen, SwapError, Swapping};
use crate::{Generation, failpoint};

impl Swapping {
    /// Opens a new generation beside the old one, and puts it into its place. `is_same` says that it must be the same store.
    pub(super) async fn open_beside(
        &self,
        old: &Arc<Generation>,
        chosen: &Chosen,
        is_same: bool,
    ) -> Result<(), SwapError> {
        let mark = if is_same { Some(self.leave_mark(old).await?) } else { None };
        failpoint::reached("marked");
        let new = match self.open(&chosen.plugin, &chosen.config).await {
            Ok(new) => new,
            Err(error) => {
                self.clean_after(old, is_same).await;
                return Err(error);
            }
        };
        failpoint::reached("opened");
        if let Err(error) = self.try_out(Some(old), &new, mark.as_deref()).await {
            self.discard(&new).await;
            self.clean_after(old, is_same).await;
            return Err(error);
        }
        failpoint::reached("tried");
        self.serve(old, new);
        self.retire(old);
        Ok(())
    }

    async fn clean_after(&self, old: &Generation, is_marked: bool) {
        if is_marked {
            self.clean(old).await;
        }
    }
}
