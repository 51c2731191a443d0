//! Which value of a label stands for what other parts of the program know by other names.

use ringbolt_core::affinity;
use ringbolt_core::detect::Protocol;
use ringbolt_core::downgrade::Downgrade;
use ringbolt_reactor::Engine;

use super::label::{
    AnswerStatus, Detected, Downgraded, EngineInUse, EngineIo, Evidence, Method, StatusClass, UnknownSid,
};

impl Evidence {
    /// The value for what decided.
    pub(crate) fn of(evidence: affinity::Evidence) -> Self {
        match evidence {
            affinity::Evidence::Tag => Self::Tag,
            affinity::Evidence::Table => Self::Table,
            affinity::Evidence::Directory => Self::Directory,
            affinity::Evidence::Ask => Self::Ask,
            affinity::Evidence::Cookie => Self::Cookie,
            affinity::Evidence::Header => Self::Header,
            affinity::Evidence::ClientIp => Self::ClientIp,
            affinity::Evidence::Rendezvous => Self::Rendezvous,
            affinity::Evidence::Placement => Self::Placement,
            affinity::Evidence::Least => Self::Least,
        }
    }
}

impl UnknownSid {
    /// The value for what a request is to its session, whose backend a tag may have named.
    pub(crate) fn of(role: Option<&affinity::Role>, tagged: bool) -> Self {
        match role {
            Some(affinity::Role::SessionTooLong) => Self::TooLong,
            _ if tagged => Self::Tagged,
            _ => Self::NotFound,
        }
    }
}

impl Downgraded {
    /// The value for what was recognised.
    pub(crate) fn of(downgrade: Downgrade) -> Self {
        match downgrade {
            Downgrade::Http10 => Self::Http10,
            Downgrade::ConnectionMissing => Self::ConnectionMissing,
            Downgrade::UpgradeMissing => Self::UpgradeMissing,
            Downgrade::FieldsMissing => Self::FieldsMissing,
            Downgrade::NeverUpgraded => Self::NeverUpgraded,
            Downgrade::PollsCut => Self::PollsCut,
            Downgrade::OtherProxy => Self::OtherProxy,
            Downgrade::Answered200 => Self::Answered200,
            Downgrade::Answered400 => Self::Answered400,
            Downgrade::Answered426 => Self::Answered426,
        }
    }
}

impl Detected {
    /// The value for a protocol.
    pub(crate) fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Http => Self::Http,
            Protocol::Tls => Self::Tls,
            Protocol::FlashPolicy => Self::FlashPolicy,
            Protocol::Tcp => Self::Tcp,
        }
    }
}

impl EngineIo {
    /// The value for a protocol revision; those before 3 are framed like it.
    pub(crate) fn of(protocol: affinity::Protocol) -> Self {
        match protocol {
            affinity::Protocol::V4 => Self::V4,
            affinity::Protocol::V3 | affinity::Protocol::Other => Self::V3,
        }
    }
}

impl EngineInUse {
    /// The value for an engine.
    pub(crate) fn of(engine: Engine) -> Self {
        match engine {
            Engine::Uring => Self::Uring,
            Engine::Epoll => Self::Epoll,
        }
    }
}

impl Method {
    /// The class of a request's method. Methods are case-sensitive (RFC 9110 section 9.1).
    pub(crate) fn of(method: &[u8]) -> Self {
        match method {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

impl StatusClass {
    /// The class of a status; anything above 499 counts as a server's error.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            0..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

impl AnswerStatus {
    /// The value for a status.
    pub(crate) fn of(status: u16) -> Self {
        match status {
            400 => Self::BadRequest,
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            413 => Self::ContentTooLarge,
            414 => Self::UriTooLong,
            417 => Self::ExpectationFailed,
            426 => Self::UpgradeRequired,
            429 => Self::TooManyRequests,
            431 => Self::HeadTooLarge,
            501 => Self::NotImplemented,
            502 => Self::BadGateway,
            503 => Self::ServiceUnavailable,
            504 => Self::GatewayTimeout,
            505 => Self::VersionNotSupported,
            _ => Self::Other,
        }
    }
}
