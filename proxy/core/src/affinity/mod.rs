//! Which backend a request belongs to.
