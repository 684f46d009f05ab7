//! The native protocol, which `host/PROTOCOL.md` states: how a host talks to a plugin that is a program of
//! its own.

mod codec;
pub mod wire;
