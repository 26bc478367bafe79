//! The networks that a token may be used from.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether an address is in one of these networks; in none of them is everywhere.
pub(crate) fn is_bound_to(networks: &[IpNet], address: Option<IpAddr>) -> bool {
    // An IPv4 address that arrives over IPv6 is still that address.
    let address = address.map(|address| address.to_canonical());
    networks.is_empty()
        || address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
}

/// Networks from their text.
///
/// # Errors
///
/// A line that says what the problem is.
pub fn networks(texts: &[String]) -> Result<Vec<IpNet>, String> {
    let network = |text: &String| {
        let text = text.trim();
        let host = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
        text.parse()
            .ok()
            .or_else(host)
            .ok_or_else(|| "one of them is no network; write such as 10.0.0.0/8".to_owned())
    };
    texts.iter().map(network).collect()
}

/// Networks as they are read back: a single address without the length of its prefix.
pub fn network_texts(networks: &[IpNet]) -> Vec<String> {
    let text = |network: &IpNet| match network.prefix_len() == network.max_prefix_len() {
        true => network.addr().to_string(),
        false => network.to_string(),
    };
    networks.iter().map(text).collect()
}
