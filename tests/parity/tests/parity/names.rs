//! What may differ between two servers by its nature: ids, tokens and accessors, which are random. Each gets
//! a name when both servers first show one at the same place, and stands for that name afterwards.

use std::collections::HashMap;

/// The names of random values, by server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    known: [HashMap<String, String>; 2],
    count: usize,
}

impl Names {
    /// Gives the values of both servers the same name.
    pub(crate) fn learn(&mut self, values: [&str; 2]) {
        self.count += 1;
        for (known, value) in self.known.iter_mut().zip(values) {
            known.entry(value.to_owned()).or_insert_with(|| format!("<id {}>", self.count));
        }
    }

    /// The name of a value of a server.
    pub(crate) fn of(&self, server: usize, value: &str) -> Option<&str> {
        self.known[server].get(value).map(String::as_str)
    }

    /// A text with names in the place of random values that it contains.
    pub(crate) fn apply(&self, server: usize, text: &str) -> String {
        if let Some(name) = self.of(server, text) {
            return name.to_owned();
        }
        // The longest first: a token may contain another one's text.
        let mut known: Vec<_> =
            self.known[server].iter().filter(|(value, _)| text.contains(*value)).collect();
        known.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        known.into_iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, name))
    }
}

/// Whether a text is a random value: a token, an accessor, a UUID, a key.
pub(crate) fn is_random(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_uuid =
        text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.split('-').all(is_hex);
    let is_token = ["s.", "hvs.", "b.", "r.", "kw."]
        .iter()
        .any(|prefix| text.strip_prefix(prefix).is_some_and(is_dense));
    // `kv_1a2b3c4d`, the accessor of a mount.
    let is_mount_accessor = text.rsplit_once('_').is_some_and(|(kind, id)| {
        id.len() >= 8 && is_hex(id) && kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    is_uuid
        || is_token
        || is_mount_accessor
        || (text.len() >= 32 && is_hex(text))
        || (is_dense(text) && is_mixed(text))
}

/// 22 letters and digits or more, as in tokens.
fn is_dense(text: &str) -> bool {
    text.len() >= 22 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+/=.".contains(&byte))
}

fn is_mixed(text: &str) -> bool {
    let has = |which: fn(&u8) -> bool| text.as_bytes().iter().any(which);
    let both_cases = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    // A token or an accessor has 24 letters, and a one-time password 26, of which none may be a digit.
    both_cases && (has(u8::is_ascii_digit) || ([24, 26].contains(&text.len()) && !text.contains(['/', '.'])))
}
