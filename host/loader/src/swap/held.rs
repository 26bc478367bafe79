//! A swap if the store has one opener: calls wait while one generation is closed and the next opened.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::TryAcquireError,
    time::{sleep, timeout},
};

use super::{Chosen, LONGEST_HOLD, SwapError, Swapping};
use crate::{Chain, Down, Generation, failpoint, readback::Scratch};

/// How long is waited between two attempts to open the former generation again.
const PAUSE: Duration = Duration::from_millis(50);
/// And later, in the background; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest such time.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Swapping {
    /// Closes the old generation and then opens a new one; if that fails, opens the old one again. Answers
    /// how long calls have waited.
    pub(super) async fn open_exclusively(
        &self,
        old: &Arc<Generation>,
        chosen: &Chosen,
    ) -> Result<Duration, SwapError> {
        let scratch = Scratch::new()?;
        let is_marked = self.leave_mark(old, chosen, &scratch).await?;
        failpoint::reached("marked");
        let begun = Instant::now();
        let hold = self.slot.hold();
        if let Err(late) = self.drain_in_hold(old).await {
            drop(hold);
            self.clean(old, &scratch).await;
            return Err(late);
        }
        failpoint::reached("drained");
        let opened = match old.close(self.swap.deadlines.close).await {
            Ok(()) => {
                failpoint::reached("closed");
                self.open_next(old, chosen, &scratch, is_marked).await
            }
            Err(source) => Err(SwapError::Close { source }),
        };
        match opened {
            Ok(new) => {
                self.serve(old, new);
                drop(hold);
                Ok(begun.elapsed())
            }
            Err(error) => {
                let back = self.open_again(old).await;
                failpoint::reached("back");
                drop(hold);
                if let Ok(again) = self.slot.generation() {
                    self.clean(&again, &scratch).await;
                }
                match back {
                    Ok(()) => Err(error),
                    Err(reopening) => {
                        Err(SwapError::Lost { swap: Box::new(error), reopening: Box::new(reopening) })
                    }
                }
            }
        }
    }

    /// Waits until no call runs on it, while others wait to begin.
    pub(super) async fn drain_in_hold(&self, old: &Generation) -> Result<(), SwapError> {
        let deadline = self.swap.deadlines.drain.min(LONGEST_HOLD);
        let what = "ending what runs on the generation that serves";
        timeout(deadline, old.quiet()).await.map_err(|_| SwapError::Late { what, deadline })
    }

    async fn open_next(
        &self,
        old: &Generation,
        chosen: &Chosen,
        scratch: &Scratch,
        is_marked: bool,
    ) -> Result<Generation, SwapError> {
        let new = self.open(&chosen.plugin, &chosen.config).await?;
        failpoint::reached("opened");
        if let Err(error) = self.try_out(Some(old), &new, scratch, is_marked).await {
            self.discard(&new).await;
            return Err(error);
        }
        failpoint::reached("tried");
        Ok(new)
    }

    /// Tries in the background until the backend is open.
    pub(super) fn keep_trying(&self, old: &Generation) {
        let swapping = self.clone();
        let (plugin, config) = (old.plugin().clone(), old.config().clone());
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            loop {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                let _turn = match swapping.slot.try_turn() {
                    Ok(turn) => turn,
                    Err(TryAcquireError::NoPermits) => continue,
                    Err(TryAcquireError::Closed) => return,
                };
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
