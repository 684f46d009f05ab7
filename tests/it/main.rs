//! The integration tests, one binary: a module for each part that is tested, through public APIs only.
//! A new test goes to the module of the thing it tests.
#![expect(
    clippy::unwrap_used,
    reason = "in a test it fails the test, also in the functions that tests share"
)]

mod abi;
mod bulkhead;
mod c_header;
mod call;
mod cli;
mod codes;
mod context;
mod deadline;
mod discovery;
mod evolution;
mod gate;
mod hooks;
mod layout;
mod load;
mod preflight;
mod probe;
mod refuse;
mod smoke;
mod storm;
mod strict;
mod support;
mod threads;
mod tidy;
mod upgrade;
