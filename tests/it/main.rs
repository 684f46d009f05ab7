//! The integration tests, one binary: a module for each part that is tested, through public APIs only.
//! A new test goes to the module of the thing it tests.
#![expect(
    clippy::unwrap_used,
    reason = "in a test it fails the test, also in the functions that tests share"
)]

mod abi;
mod builtin;
mod bulkhead;
mod bundle;
mod bundle_differential;
mod bundle_load;
mod c_header;
mod call;
mod canary;
mod cli;
mod cli_doctor;
mod cli_live;
mod cli_pack;
mod cli_store;
mod cli_trust;
mod codes;
mod context;
mod contract;
mod contracts;
mod corpus;
mod deadline;
mod dependencies;
mod deps;
mod discovery;
mod evolution;
mod exhaustion;
mod gate;
mod handover;
mod history;
mod hooks;
mod index;
mod installed;
mod isolate;
mod last_words;
mod layout;
mod load;
mod pack;
mod preflight;
mod probe;
mod process;
mod process_endpoints;
mod process_http;
mod process_plugin;
mod process_start;
mod process_storm;
mod process_supervisor;
mod process_wire;
mod quarantine;
mod refuse;
mod rollback;
mod sandbox;
mod schema;
mod sentinel;
mod signature;
mod smoke;
mod state;
mod store;
mod store_faults;
mod store_trust;
mod storm;
mod strict;
mod support;
mod threads;
mod tidy;
mod together;
mod trust;
mod upgrade;
mod watch;
mod watch_faults;
mod watch_storm;
