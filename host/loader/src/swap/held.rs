//! A swap where the store has one opener: calls wait while one generation is closed and the next opened.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::{Chosen, SwapError, Swapping};
use crate::{Chain, Down, Generation, failpoint};

/// How long is waited between two attempts to open the former generation again.
const PAUSE: Duration = Duration::from_millis(50);
/// And later, in the background; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Swapping {
    /// Closes the old generation and opens a new one behind it; or the old one again.
    pub(super) async fn open_behind(&self, old: &Arc<Generation>, chosen: &Chosen) -> Result<(), SwapError> {
        let mark = self.leave_mark(old).await?;
        failpoint::reached("marked");
        let hold = self.slot.hold();
        if timeout(self.swap.deadlines.drain, old.quiet()).await.is_err() {
            drop(hold);
            self.clean(old).await;
            return Err(SwapError::Late {
                what: "ending what runs on the generation that serves",
                deadline: self.swap.deadlines.drain,
            });
        }
        failpoint::reached("drained");
        let opened = match old.close(self.swap.deadlines.close).await {
            Ok(()) => {
                failpoint::reached("closed");
                self.open_next(old, chosen, &mark).await
            }
            Err(source) => Err(SwapError::Close { source }),
        };
        match opened {
            Ok(new) => {
                self.serve(old, new);
                drop(hold);
                Ok(())
            }
            Err(error) => {
                let back = self.open_again(old).await;
                failpoint::reached("back");
                drop(hold);
                match back {
                    Ok(()) => Err(error),
                    Err(reopening) => {
                        Err(SwapError::Lost { swap: Box::new(error), reopening: Box::new(reopening) })
                    }
                }
            }
        }
    }

    async fn open_next(
        &self,
        old: &Generation,
        chosen: &Chosen,
        mark: &[u8],
    ) -> Result<Generation, SwapError> {
        let new = self.open(&chosen.plugin, &chosen.config).await?;
        failpoint::reached("opened");
        if let Err(error) = self.try_out(Some(old), &new, Some(mark)).await {
            self.discard(&new).await;
            return Err(error);
        }
        failpoint::reached("tried");
        Ok(new)
    }

    /// In the background, for as long as nobody has opened it.
    fn keep_trying(&self, old: &Generation) {
        let swapping = self.clone();
        let (plugin, config) = (old.plugin().clone(), old.config().clone());
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let Some(_turn) = swapping.slot.try_turn() else { continue };
                if swapping.slot.generation().is_ok() {
                    return;
                }
                let backend = swapping.slot.backend();
                match swapping.open(&plugin, &config).await {
                    Ok(again) => {
                        tracing::warn!(
                            backend,
                            "the store is open again, with the plugin that served before"
                        );
                        let _none = swapping.slot.open(again);
                        return;
                    }
                    Err(error) => {
                        tracing::error!(backend, error = %Chain(&error), "the store does not open again")
                    }
                }
            }
        });
    }

    /// The plugin that served before serves again. What has failed may hold the store for a while.
    pub(super) async fn open_again(&self, old: &Generation) -> Result<(), SwapError> {
        let begun = Instant::now();
        let most = self.swap.deadlines.close + self.swap.deadlines.open;
        loop {
            match self.open(old.plugin(), old.config()).await {
                Ok(again) => {
                    self.clean(&again).await;
                    let again = again.fallen_back(old.fallback().map(str::to_owned));
                    let _closed = self.slot.open(again);
                    return Ok(());
                }
                Err(error) if begun.elapsed() < most => {
                    tracing::warn!(backend = self.slot.backend(), error = %Chain(&error), "the former generation does not open yet");
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    let reason = Chain(&error).to_string();
                    let summary = "a swap has failed, and the store does not open again".to_owned();
                    self.slot.close(Down { summary, reason });
                    self.keep_trying(old);
                    return Err(error);
                }
            }
        }
    }
}
