//! `traceparent` of W3C Trace Context, level 1: <https://www.w3.org/TR/trace-context/>. One that is malformed
//! is ignored, as the specification says.

use axum::http::HeaderMap;
use data_encoding::HEXLOWER;

/// The trace that a request is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) trace_id: [u8; 16],
    pub(super) parent_id: [u8; 8],
}

impl Trace {
    /// The trace that the headers name.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let value = values.next()?.to_str().ok()?;
        if values.next().is_some() { None } else { Self::parse(value) }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version: [u8; 1] = hexadecimal(parts.next()?)?;
        let trace_id = hexadecimal(parts.next()?)?;
        let parent_id = hexadecimal(parts.next()?)?;
        let _flags: [u8; 1] = hexadecimal(parts.next()?)?;
        // A later version may add fields after these.
        let is_whole = match version {
            [0] => parts.next().is_none(),
            [255] => false,
            _ => true,
        };
        (is_whole && trace_id != [0; 16] && parent_id != [0; 8]).then_some(Self { trace_id, parent_id })
    }

    /// The trace id as it is written.
    pub(super) fn id(&self) -> String {
        HEXLOWER.encode(&self.trace_id)
    }
}

fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_context_is_read_and_anything_malformed_is_none() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::parse(good).unwrap();
        assert_eq!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.parent_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        assert!(Trace::parse(&format!("01{}-more", &good[2..])).is_some(), "a later version");
        for bad in [
            "",
            "00",
            &format!("{good}-more"),
            &format!("ff{}", &good[2..]),
            &good.to_uppercase(),
            &good.replace("b7ad6b7169203331", "0000000000000000"),
            &good.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &good[..good.len() - 1],
        ] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
    }
}
