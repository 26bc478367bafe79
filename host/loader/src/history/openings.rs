//! With which libraries each backend was opened, and which it is not to be opened with again.

use super::History;
use crate::Digest;

/// The libraries that are remembered as set aside for a backend.
const MAX_SET_ASIDE: usize = 64;

impl History {
    /// Remembers which libraries are not to be taken again, because a backend was swapped back to `to`, which is.
    pub(crate) fn set_aside(&self, backend: &str, to: Option<Digest>, aside: &[Digest]) {
        let to = to.map(|digest| digest.to_string());
        let aside: Vec<String> = aside.iter().map(Digest::to_string).collect();
        let known = self.openings(backend).set_aside;
        // Mostly nothing was, and nothing is.
        if aside.is_empty() && to.as_ref().is_none_or(|to| !known.contains(to)) {
            return;
        }
        self.remember(self.edit(|records| {
            let openings = records.backends.entry(backend.to_owned()).or_default();
            openings.set_aside.retain(|digest| Some(digest) != to.as_ref() && !aside.contains(digest));
            openings.set_aside.extend(aside.into_iter().filter(|digest| Some(digest) != to.as_ref()));
            let surplus = openings.set_aside.len().saturating_sub(MAX_SET_ASIDE);
            openings.set_aside.drain(..surplus);
        }));
    }
}
