//! What a server's certificate says, and what is wrong with it or with its TLS, in words.

// tidy: allow peer, rustls calls so whoever is at the other end

use std::io;
use std::net::IpAddr;
use std::path::Path;

use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, Error};
use x509_parser::prelude::{GeneralName, X509Certificate};

use super::certificate::{EXPIRY_WARNING, parse, unix_now};
use super::identity::subject;
use super::upstream::verifier;

/// What is wrong with a server's certificate or its TLS, in words, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wrong {
    pub(crate) seen: String,
    pub(crate) cure: &'static str,
}

impl Wrong {
    fn new(seen: impl Into<String>, cure: &'static str) -> Self {
        Self { seen: seen.into(), cure }
    }
}

/// What a certificate that is to be believed says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Right {
    pub(crate) seen: String,
    pub(crate) ends_soon: bool,
}

/// Judges the certificate that a server has shown, its own first and those of its issuers behind.
///
/// # Errors
/// A file of issuers that cannot be read, or none on this system.
pub(crate) fn judge(
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    ca: Option<&Path>,
) -> Result<Result<Right, Wrong>, String> {
    let Some((own, issuers)) = chain.split_first() else {
        return Ok(Err(Wrong::new("the server shows no certificate", "")));
    };
    let parsed = match parse(own) {
        Ok(parsed) => parsed,
        Err(problem) => return Ok(Err(Wrong::new(problem, REISSUE_CURE))),
    };
    let verdict = verifier(ca)?.verify_server_cert(own, issuers, name, &[], UnixTime::now());
    Ok(match verdict {
        Ok(_) => {
            let left = parsed.validity.not_after.timestamp() - unix_now();
            let (names, end) = (names(&parsed), parsed.validity.not_after.to_datetime().date());
            Ok(Right {
                seen: format!("for {names}, until {end} ({} days), by {}", left / 86_400, issuer(&parsed)),
                ends_soon: left < i64::try_from(EXPIRY_WARNING.as_secs()).unwrap_or(i64::MAX),
            })
        }
        Err(error) => Err(wrong(&error, &parsed, issuers.len(), name)),
    })
}

const REISSUE_CURE: &str = "Have it issued anew: clients will not accept it as it is.";
const CHAIN_CURE: &str = "The server must send its certificate and that of each issuer up to one that clients know \
    (fullchain.pem).\nIf the issuer is your own, name its certificate with --ca.";
const OWN_ISSUER_CURE: &str =
    "Browsers will refuse it as well. If it is your own issuer's, name that with --ca.";

fn wrong(error: &Error, own: &X509Certificate<'_>, issuers: usize, name: &ServerName<'_>) -> Wrong {
    let Error::InvalidCertificate(cause) = error else { return Wrong::new(error.to_string(), REISSUE_CURE) };
    let date = |time: &x509_parser::time::ASN1Time| time.to_datetime().date();
    match cause {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let ended = date(&own.validity.not_after);
            Wrong::new(
                format!("the certificate, or one of its issuers, has expired; its own ended on {ended}"),
                "Renew it, and look at why it was not renewed by itself.",
            )
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Wrong::new(
            format!("the certificate is not valid before {}", date(&own.validity.not_before)),
            "Is this machine's clock right, and that of who issued it?",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Wrong::new(
            format!("the certificate is for {}, not for {}", names(own), name.to_str()),
            "Ask for one of these names, or have one issued for this name. Behind several names on one port \
             this is\nwhat a server's default certificate looks like.",
        ),
        // As often as not it is an issuer's certificate too, which is refused for that.
        CertificateError::UnknownIssuer | CertificateError::Other(_) if own.subject() == own.issuer() => {
            Wrong::new("the certificate is signed by itself", OWN_ISSUER_CURE)
        }
        CertificateError::Other(_) if own.is_ca() => {
            Wrong::new("the certificate is an issuer's (CA:TRUE), not a server's", REISSUE_CURE)
        }
        CertificateError::UnknownIssuer if issuers == 0 => Wrong::new(
            format!(
                "the certificate's issuer is not known here ({}), and the server sends no other",
                issuer(own)
            ),
            CHAIN_CURE,
        ),
        CertificateError::UnknownIssuer => Wrong::new(
            format!("none of the {issuers} issuers that the server sends leads to one that is known here"),
            OWN_ISSUER_CURE,
        ),
        CertificateError::BadSignature => Wrong::new(
            "the certificate's signature is not its issuer's",
            "One of the certificates that the server sends is of another issuer with the same name.",
        ),
        cause => Wrong::new(cause.to_string(), REISSUE_CURE),
    }
}

/// What is wrong where no TLS session came of a connection.
pub(crate) fn no_session(error: &io::Error) -> Wrong {
    use rustls::AlertDescription::{
        CertificateRequired, HandshakeFailure, ProtocolVersion, UnrecognisedName,
    };
    const OLD_CURE: &str = "TLS 1.2 and 1.3 with forward secrecy are offered, as browsers do.";
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidMessage(_)) => {
            Wrong::new("what answers does not speak TLS", "Is it a port for http://?")
        }
        Some(Error::AlertReceived(UnrecognisedName)) => Wrong::new(
            "the server has no certificate for this name",
            "Is the name right, and does the server have its certificate?",
        ),
        Some(Error::AlertReceived(ProtocolVersion | HandshakeFailure) | Error::PeerIncompatible(_)) => {
            Wrong::new(format!("the server offers no TLS, or none that is still in use ({error})"), OLD_CURE)
        }
        Some(Error::AlertReceived(CertificateRequired)) => Wrong::new(
            "the server wants a certificate of its clients",
            "Only clients with one can be served; the doctor has none.",
        ),
        Some(Error::AlertReceived(alert)) => {
            Wrong::new(format!("the server refuses the TLS handshake: {alert:?}"), "Its log should say why.")
        }
        Some(cause) => Wrong::new(cause.to_string(), "The server breaks a rule of TLS."),
        None => Wrong::new(
            format!("the connection ends during the TLS handshake: {error}"),
            "Does anything there speak TLS?",
        ),
    }
}

/// The names and addresses a certificate is for.
fn names(own: &X509Certificate<'_>) -> String {
    const SHOWN: usize = 5;
    let Ok(Some(extension)) = own.subject_alternative_name() else { return "no name".to_owned() };
    let shown = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    };
    let mut all: Vec<String> = extension.value.general_names.iter().filter_map(shown).collect();
    match all.len() {
        0 => return "no name".to_owned(),
        count if count > SHOWN => {
            all.truncate(SHOWN);
            all.push(format!("{} more", count - SHOWN));
        }
        _ => {}
    }
    all.join(", ")
}

fn issuer(own: &X509Certificate<'_>) -> String {
    subject(own.issuer())
}

/// What a stranger has written, for a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_ascii_graphic() { char } else { '?' }).collect()
}
