//! The socket policy that a Flash player asks for before it opens a socket to a port.
//!
//! It says which sites' movies may connect, and to which ports ("Cross-domain policy file specification", Adobe,
//! section 3.1 and "Setting up a socket policy file server"). The answer ends with a NUL.

use std::fmt;

use crate::limits::FLASH_POLICY_BYTES_MAX;

/// The answer to [`crate::detect::FLASH_POLICY_REQUEST`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlashPolicy(Box<[u8]>);

/// What cannot be (part of) a policy. It says what is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlashPolicyError(&'static str);

impl FlashPolicy {
    /// The policy that lets movies of `domains` connect to `ports` of this machine.
    ///
    /// # Errors
    /// One of them is none: see [`FlashPolicy::check_domain`] and [`FlashPolicy::check_ports`].
    pub fn allowing(domains: &[String], ports: &[String]) -> Result<Self, FlashPolicyError> {
        domains.iter().try_for_each(|domain| Self::check_domain(domain))?;
        ports.iter().try_for_each(|ports| Self::check_ports(ports))?;
        let ports = ports.join(",");
        let allow =
            |domain: &String| format!("<allow-access-from domain=\"{domain}\" to-ports=\"{ports}\"/>\n");
        let allowed: String = domains.iter().map(allow).collect();
        let text = format!(
            "<?xml version=\"1.0\"?>\n<cross-domain-policy>\n\
             <site-control permitted-cross-domain-policies=\"master-only\"/>\n{allowed}</cross-domain-policy>\n\0"
        );
        Ok(Self(text.into_bytes().into()))
    }

    /// The policy as it stands in a file, with or without a NUL at its end.
    ///
    /// # Errors
    /// It is no policy, or longer than [`FLASH_POLICY_BYTES_MAX`].
    pub fn from_text(text: &[u8]) -> Result<Self, FlashPolicyError> {
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        if text.len() > FLASH_POLICY_BYTES_MAX {
            return Err(FlashPolicyError("is too long for a Flash policy; players read 64 KiB"));
        }
        let has = |part: &[u8]| memchr::memmem::find(text, part).is_some();
        if !has(b"<cross-domain-policy") || text.contains(&0) {
            return Err(FlashPolicyError(
                "is no Flash policy: it has no <cross-domain-policy>, or a NUL within",
            ));
        }
        Ok(Self([text, b"\0"].concat().into()))
    }

    /// The answer, its NUL included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `text` names a site: `chat.example.com`, `*.example.com`, an address, or `*` for all.
    ///
    /// # Errors
    /// It does not.
    pub fn check_domain(text: &str) -> Result<(), FlashPolicyError> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        let is_right = text == "*" || (!name.is_empty() && name.bytes().all(is_name_byte));
        is_right.then_some(()).ok_or(FlashPolicyError(
            "is no domain of a Flash policy; write for example \"chat.example.com\", \"*.example.com\" or \"*\"",
        ))
    }

    /// Whether `text` names ports: `443`, `8000-8100`, or `*` for all.
    ///
    /// # Errors
    /// It does not.
    pub fn check_ports(text: &str) -> Result<(), FlashPolicyError> {
        let port = |text: &str| -> Option<u16> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|port| digits && *port > 0)
        };
        let is_right = match text.split_once('-') {
            _ if text == "*" => true,
            Some((first, last)) => {
                matches!((port(first), port(last)), (Some(first), Some(last)) if first <= last)
            }
            None => port(text).is_some(),
        };
        is_right.then_some(()).ok_or(FlashPolicyError(
            "is no port of a Flash policy; write for example \"443\", \"8000-8100\" or \"*\"",
        ))
    }
}

impl fmt::Display for FlashPolicyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for FlashPolicyError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_policy_is_written_as_players_expect_it() {
        let policy =
            FlashPolicy::allowing(&strings(&["*.example.com", "a.example"]), &strings(&["443", "80-90"]));
        let expected = "<?xml version=\"1.0\"?>\n<cross-domain-policy>\n\
            <site-control permitted-cross-domain-policies=\"master-only\"/>\n\
            <allow-access-from domain=\"*.example.com\" to-ports=\"443,80-90\"/>\n\
            <allow-access-from domain=\"a.example\" to-ports=\"443,80-90\"/>\n\
            </cross-domain-policy>\n\0";
        assert_eq!(str::from_utf8(policy.unwrap().bytes()), Ok(expected));
    }

    #[test]
    fn a_file_gets_exactly_one_nul() {
        for text in ["<cross-domain-policy/>", "<cross-domain-policy/>\0"] {
            assert_eq!(FlashPolicy::from_text(text.as_bytes()).unwrap().bytes(), b"<cross-domain-policy/>\0");
        }
        let long = [b"<cross-domain-policy/>", &vec![b' '; FLASH_POLICY_BYTES_MAX][..]].concat();
        for text in [&b"<html>"[..], b"", b"<cross-domain-policy/>\0\0", &long] {
            assert!(FlashPolicy::from_text(text).is_err());
        }
    }

    #[test]
    fn nothing_can_be_written_into_the_policy_but_domains_and_ports() {
        for domain in ["", "*.", "a b", "a\"/>", "*a", "a.*", "http://a/"] {
            assert!(FlashPolicy::allowing(&strings(&[domain]), &strings(&["1"])).is_err(), "{domain}");
        }
        for ports in ["", "0", "65536", "-", "1-", "2-1", "+1", "1,2", "1 ", "a"] {
            assert!(FlashPolicy::allowing(&strings(&["*"]), &strings(&[ports])).is_err(), "{ports}");
        }
        for ports in ["*", "1", "65535", "1-65535", "7-7"] {
            assert_eq!(FlashPolicy::check_ports(ports), Ok(()), "{ports}");
        }
    }
}
