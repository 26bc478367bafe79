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

pub(crate) async fn read(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    let since = context.call.core.seal_control().password_set(&context.call.work).await?;
    Ok(Answer::system(json!({ "is_set": since.is_some(), "created_time": since })))
}

pub(crate) async fn write(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.call.edge.clients.take_password(context.call.peer)?;
    let request: PasswordRequest = context.json()?;
    let password = parse(request.password.unwrap_or_default())?;
    context.call.core.seal_control().set_password(&context.call.work, password).await?;
    Ok(Answer::Nothing)
}

pub(crate) async fn delete(context: &RequestContext<'_>) -> Result<Answer, ApiError> {
    context.call.core.seal_control().remove_password(&context.call.work).await?;
    Ok(Answer::Nothing)
}

pub(super) fn parse(text: String) -> Result<Password, ApiError> {
    Password::new(Zeroizing::new(text)).map_err(ApiError::bad_request)
}
