//! The rate limit of one client: 429 with Retry-After beyond it. A client is an IPv4 address, or an IPv6
//! network of 64 bits, since one subscriber has such a network.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    state::keyed::HashMapStateStore,
};

use super::error::ApiError;

/// How many requests are served at a time, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Most requests that are served at a time; further ones are refused with 503.
    pub running: usize,
    /// How long a request may take.
    pub time: Duration,
    /// Most bytes of all bodies that are being served.
    pub body_memory_bytes: usize,
    /// Most requests of one client in a second; none is any number.
    pub client_requests: Option<NonZeroU32>,
    /// Most attempts of one client in a minute to unseal, to log in, or at what else takes shares; none is
    /// any number.
    pub client_attempts: Option<NonZeroU32>,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            running: 1_024,
            time: Duration::from_secs(90),
            body_memory_bytes: 256 * 1024 * 1024,
            client_requests: None,
            client_attempts: NonZeroU32::new(300),
        }
    }
}

/// After this number of requests, clients that have not asked recently are forgotten.
const TIDY: u32 = 1_024;
/// How many passwords a client may try in a minute.
const PASSWORDS: NonZeroU32 = NonZeroU32::new(5).expect("it is not zero");

/// What one client may ask for.
pub(super) struct ClientLimits {
    requests: Option<Limit>,
    attempts: Option<Limit>,
    passwords: Limit,
}

struct Limit {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, MonotonicClock>,
    taken: AtomicU32,
}

impl ClientLimits {
    pub(super) fn new(limits: &RequestLimits) -> Self {
        Self {
            requests: limits.client_requests.map(|most| Limit::new(Quota::per_second(most))),
            attempts: limits.client_attempts.map(|most| Limit::new(Quota::per_minute(most))),
            passwords: Limit::new(Quota::per_minute(PASSWORDS)),
        }
    }

    /// One request of this client.
    pub(super) fn take_request(&self, peer: Option<SocketAddr>) -> Result<(), ApiError> {
        self.requests.as_ref().map_or(Ok(()), |limit| limit.take(peer, "too many requests from this client"))
    }

    /// One password of this client's: people choose it, so that it can be guessed.
    pub(super) fn take_password(&self, peer: Option<SocketAddr>) -> Result<(), ApiError> {
        self.passwords.take(peer, "too many passwords from this client")
    }

    /// One attempt of this client at what only some know.
    pub(super) fn take_attempt(&self, peer: Option<SocketAddr>) -> Result<(), ApiError> {
        self.attempts.as_ref().map_or(Ok(()), |limit| limit.take(peer, "too many attempts from this client"))
    }
}

impl Limit {
    fn new(quota: Quota) -> Self {
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock);
        Self { limiter, taken: AtomicU32::new(0) }
    }

    fn take(&self, peer: Option<SocketAddr>, what: &str) -> Result<(), ApiError> {
        // Without an address there is no client to limit.
        let Some(peer) = peer else { return Ok(()) };
        if self.taken.fetch_add(1, Ordering::Relaxed) % TIDY == TIDY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(&client(peer.ip())).map_err(|early| {
            let retry_after_s = early.wait_time_from(MonotonicClock.now()).as_secs() + 1;
            let message = format!("{what}; try again in {retry_after_s} s");
            ApiError::TooMany { message, retry_after_s }
        })
    }
}

fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_have_bounds_of_their_own() {
        let limits = RequestLimits {
            client_attempts: NonZeroU32::new(3),
            client_requests: None,
            ..RequestLimits::default()
        };
        let limits = ClientLimits::new(&limits);
        let peer = |text: &str| Some(SocketAddr::new(text.parse().unwrap(), 1));
        for _ in 0..3 {
            assert!(limits.take_attempt(peer("2001:db8::1")).is_ok());
        }
        // Another address of the same network is the same client.
        let refused = limits.take_attempt(peer("2001:db8::2")).unwrap_err();
        assert!(matches!(refused, ApiError::TooMany { retry_after_s: 1..=21, .. }), "{refused:?}");
        assert!(limits.take_attempt(peer("2001:db8:0:1::1")).is_ok());
        assert!(limits.take_attempt(peer("10.0.0.1")).is_ok());
        assert!((0..1_000).all(|_| limits.take_request(peer("10.0.0.1")).is_ok()), "there is no bound");
    }
}
