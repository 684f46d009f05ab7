//! stub
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Loaded,
    Upgraded,
    RolledBack,
    Unloaded,
}
#[derive(Clone, Copy, Debug)]
pub(crate) enum Why {
    Asked,
    Watched,
    Automatic,
    Cascade,
    Together,
    Canary,
}
