//! The password that unseals, as another way besides the shares. Keyway's own: Vault has none.

use keyway_crypto::password::Password;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{answer::Answer, error::ApiError, route::RequestContext};

#[derive(Deserialize)]
struct PasswordRequest {
    password: Option<String>,
}

pub(crate) async fn read(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let since = at.call.core.password_set(&at.call.work).await?;
    Ok(Answer::system(json!({ "is_set": since.is_some(), "created_time": since })))
}

pub(crate) async fn write(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    at.call.edge.clients.take_password(at.call.peer)?;
    let request: PasswordRequest = at.json()?;
    let password = parse(request.password.unwrap_or_default())?;
    at.call.core.set_password(&at.call.work, password).await?;
    Ok(Answer::Nothing)
}

pub(crate) async fn delete(at: &RequestContext<'_>) -> Result<Answer, ApiError> {
    at.call.core.remove_password(&at.call.work).await?;
    Ok(Answer::Nothing)
}

pub(super) fn parse(text: String) -> Result<Password, ApiError> {
    Password::new(Zeroizing::new(text)).map_err(ApiError::bad_request)
}
