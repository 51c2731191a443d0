//! The rules of messages, each by its number, and their properties.
