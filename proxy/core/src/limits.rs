//! Every bound the proxy relies on, in one place, with its reason.
