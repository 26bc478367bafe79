//! The schema of a backend's settings.

/// The JSON Schema of a configuration, as it stands in
/// [`PluginInfo::config_schema`](crate::PluginInfo::config_schema): a backend keeps it in a file and tests
/// that the file is up to date.
pub fn config_schema<C: schemars::JsonSchema>() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(C)).unwrap_or_default();
    text.push('\n');
    text
}

/// Keeps the file with a configuration's schema up to date, for a test. It compares the embedded schema with
/// the type. If `KEYWAY_UPDATE_SCHEMAS` is in the environment, it writes the file instead.
///
/// # Errors
///
/// What to do if the file is out of date, or why it cannot be written.
pub fn check_config_schema<C: schemars::JsonSchema>(
    embedded: &str,
    file: &std::path::Path,
) -> std::result::Result<(), String> {
    let current = config_schema::<C>();
    if std::env::var_os("KEYWAY_UPDATE_SCHEMAS").is_some() {
        return std::fs::write(file, current).map_err(|error| format!("write {}: {error}", file.display()));
    }
    if embedded == current {
        return Ok(());
    }
    Err(format!("{} is out of date; run this test once with KEYWAY_UPDATE_SCHEMAS=1", file.display()))
}
