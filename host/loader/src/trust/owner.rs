//! The policy `owner`: only root and this program's user could have written the file.

use super::TrustError;
use crate::describe::Described;

pub(super) fn verify(described: &Described) -> Result<(), TrustError> {
    let path = described.staged.source.clone();
    let provenance = &described.staged.provenance;
    let Some(file) = provenance.file else { return Err(TrustError::NoOwners { path }) };
    if let Some(target) = &provenance.leads_to {
        return Err(TrustError::LeadsOut { path, target: target.clone() });
    }
    // A file that is not trusted or that everyone may write was not even staged.
    if !file.is_exclusive() {
        return Err(TrustError::OthersWrite { path, mode: file.mode });
    }
    if let Some(reason) = &provenance.unjudged {
        return Err(TrustError::Unjudged { path, reason: reason.clone() });
    }
    if let Some(exposed) = &provenance.exposed {
        let (path, user, mode) = (exposed.path.clone(), exposed.ownership.user, exposed.ownership.mode);
        return Err(TrustError::OthersReplace { path, user, mode });
    }
    Ok(())
}
