//! Errors: what failed, and whether anything was changed.

use std::{fmt, io};

use abi_stable::{
    StableAbi,
    std_types::{RBox, ROption, RString, RVec},
};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal $text:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The code's name, or `"Unrecognised"` for one of a later interface.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => $text,)*
                    _ => "Unrecognised",
                }
            }
        }
    };
}

/// What kind of failure it was. An integer, so that a code of a later interface is a value that can be handled.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(u32);

codes! {
    /// The request breaks the interface's rules.
    INVALID_ARGUMENT = 1 "InvalidArgument";
    /// Something that must exist does not (a keyspace to drop, an extension). A missed key is not an error.
    NOT_FOUND = 2 "NotFound";
    /// The condition `Absent` met an existing key.
    ALREADY_EXISTS = 3 "AlreadyExists";
    /// The condition on a version met another version or none.
    PRECONDITION_FAILED = 4 "PreconditionFailed";
    /// Another writer got in between: the whole transaction or batch can be tried again.
    CONFLICT = 5 "Conflict";
    /// Not declared in the capabilities; nothing was changed.
    UNSUPPORTED = 6 "Unsupported";
    /// A key, value, batch or page is beyond a declared limit; nothing was changed.
    TOO_LARGE = 7 "TooLarge";
    /// A queue, a disk or a quota is full.
    RESOURCE_EXHAUSTED = 8 "ResourceExhausted";
    /// The store refused the backend's credentials or file modes.
    PERMISSION_DENIED = 9 "PermissionDenied";
    /// The store cannot be reached or is not ready; trying later may help.
    UNAVAILABLE = 10 "Unavailable";
    /// The time that the call was given has passed.
    TIMEOUT = 11 "Timeout";
    /// The call was cancelled.
    CANCELLED = 12 "Cancelled";
    /// The cursor belongs to another opening of the backend, another range, or was altered: start the scan again.
    CURSOR_EXPIRED = 13 "CursorExpired";
    /// The store holds something that the backend did not write.
    CORRUPT = 14 "Corrupt";
    /// The backend, the transaction or the stream is closed.
    CLOSED = 15 "Closed";
    /// The backend panicked in this call.
    PANICKED = 16 "Panicked";
    /// A defect in the backend.
    INTERNAL = 17 "Internal";
}

impl ErrorCode {
    /// The number that crosses the boundary.
    #[inline]
    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.0)
    }
}

/// Whether the failed call may have changed the store.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outcome(u32);

impl Outcome {
    /// Proof that nothing was changed.
    pub const NOT_APPLIED: Self = Self(0);
    /// The effect may have happened, whole, at most once. Read back before trying again.
    pub const UNKNOWN: Self = Self(1);
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::NOT_APPLIED { "NotApplied" } else { "Unknown" })
    }
}

/// A failed call. One pointer wide, so that successes do not pay for it.
///
/// The message is for operators' logs and must not hold keys' values, credentials or connection strings.
#[repr(transparent)]
#[derive(StableAbi)]
pub struct Error(RBox<ErrorBody>);

/// The contents of an [`Error`]; public only because a public type points at it.
#[doc(hidden)]
#[repr(C)]
#[derive(StableAbi, Clone)]
pub struct ErrorBody {
    code: ErrorCode,
    outcome: Outcome,
    index: ROption<u32>,
    retry_after_ms: ROption<u64>,
    message: RString,
    native_code: RString,
    flags: u64,
    extension: RVec<u8>,
}

impl Error {
    /// An error that proves that nothing was applied. Use [`Error::with_unknown_outcome`] if that is not so.
    #[inline]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(RBox::new(ErrorBody {
            code,
            outcome: Outcome::NOT_APPLIED,
            index: ROption::RNone,
            retry_after_ms: ROption::RNone,
            message: RString::from(message.into()),
            native_code: RString::new(),
            flags: 0,
            extension: RVec::new(),
        }))
    }

    /// `operation` is not among the declared capabilities.
    #[inline]
    pub fn unsupported(operation: &str) -> Self {
        Self::new(ErrorCode::UNSUPPORTED, format!("{operation} is not supported by this backend"))
    }

    /// The effect may have happened.
    #[must_use]
    #[inline]
    pub fn with_unknown_outcome(mut self) -> Self {
        self.0.outcome = Outcome::UNKNOWN;
        self
    }

    /// The failed call has changed nothing, for an error that leaves it open.
    #[must_use]
    pub fn not_applied(mut self) -> Self {
        self.0.outcome = Outcome::NOT_APPLIED;
        self
    }

    /// The position, in the request, of the item that failed.
    #[must_use]
    #[inline]
    pub fn with_index(mut self, index: usize) -> Self {
        self.0.index = u32::try_from(index).map_or(ROption::RNone, ROption::RSome);
        self
    }

    /// The time after which trying again makes sense, in milliseconds.
    #[must_use]
    #[inline]
    pub fn with_retry_after_ms(mut self, retry_after_ms: u64) -> Self {
        self.0.retry_after_ms = ROption::RSome(retry_after_ms);
        self
    }

    /// The store's own code: an SQLSTATE, an SQLite extended code, an errno.
    #[must_use]
    #[inline]
    pub fn with_native_code(mut self, native_code: impl Into<String>) -> Self {
        self.0.native_code = RString::from(native_code.into());
        self
    }

    /// What kind of failure it was.
    #[inline]
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// Whether anything may have been changed. An error with a flag that is not understood proves nothing.
    #[inline]
    pub fn outcome(&self) -> Outcome {
        if crate::flags::unknown_flags(self.0.flags) == 0 { self.0.outcome } else { Outcome::UNKNOWN }
    }

    /// The position, in the request, of the item that failed.
    #[inline]
    pub fn index(&self) -> Option<usize> {
        self.0.index.into_option().and_then(|index| usize::try_from(index).ok())
    }

    /// When trying again makes sense, in milliseconds from now.
    #[inline]
    pub fn retry_after_ms(&self) -> Option<u64> {
        self.0.retry_after_ms.into_option()
    }

    /// The text for the log.
    #[inline]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The store's own code, or an empty text.
    #[inline]
    pub fn native_code(&self) -> &str {
        &self.0.native_code
    }
}

/// A full disk is `ResourceExhausted`, a refusal `PermissionDenied`; what is not known is `Unavailable`. The errno is
/// the native code.
///
/// The outcome is unknown: a write or a sync that fails may have reached the disk. Say [`Error::not_applied`] where
/// nothing can have changed. An operation that only reads changes nothing, and the SDK says so.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        let code = match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::OutOfMemory => ErrorCode::RESOURCE_EXHAUSTED,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorCode::PERMISSION_DENIED
            }
            io::ErrorKind::TimedOut => ErrorCode::TIMEOUT,
            _ => ErrorCode::UNAVAILABLE,
        };
        let native_code = error.raw_os_error().map(|number| format!("errno {number}")).unwrap_or_default();
        Self::new(code, error.to_string()).with_native_code(native_code).with_unknown_outcome()
    }
}

impl Clone for Error {
    fn clone(&self) -> Self {
        Self(RBox::new(ErrorBody::clone(&self.0)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code().name(), self.message())?;
        if !self.native_code().is_empty() {
            write!(f, " [{}]", self.native_code())?;
        }
        if self.outcome() == Outcome::UNKNOWN {
            f.write_str(" (outcome unknown)")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.code())
            .field("outcome", &self.outcome())
            .field("index", &self.index())
            .field("message", &self.message())
            .field("native_code", &self.native_code())
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {}
