//! How plugins of the framework are run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How plugins written for Skarlso's go-plugin-framework are found and run.
///
/// ```
/// use std::time::Duration;
///
/// let options = plg_host::ContractOptions {
///     idle_timeout: Duration::from_secs(600),
///     ..Default::default()
/// };
/// assert_eq!(options.timeout, Duration::from_secs(30));
/// ```
#[derive(Clone)]
pub struct ContractOptions {
    /// After how long without a call a plugin may end; the next call starts it again. An hour by default. A manifest's
    /// `idle_timeout` comes first.
    pub idle_timeout: Duration,
    /// How long a call without a deadline of its own may take; 30 seconds by default.
    pub timeout: Duration,
    /// How long a plugin may take to take calls after it was started; 30 seconds by default.
    pub start_timeout: Duration,
    /// How long it may take to say what it offers; 10 seconds by default.
    pub capabilities_timeout: Duration,
    /// The configuration: what the plugin is given for each type of it, none by default. The operator's configuration
    /// of one plugin adds its members to this, as JSON, and comes first.
    pub config: BTreeMap<String, Vec<u8>>,
    /// Whether a plugin is given only the types of configuration that it asks for, and is not loaded when one of these is
    /// missing. No by default: it is given all.
    pub only_declared_config: bool,
    /// Whether every status from 200 to 299 is success, and not 200 alone. No by default.
    pub accept_any_2xx: bool,
    /// Whether a plugin without a `plugin.json` listens on TCP. No by default: on TCP its socket is open to every user
    /// of the machine, and often to the network.
    pub tcp: bool,
    /// Which files are looked at, by name; all by default.
    pub filter: Option<ContractFilter>,
}

/// Says of a file, by its name, whether it is wanted.
pub type ContractFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl Default for ContractOptions {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_secs(3600),
            timeout: Duration::from_secs(30),
            start_timeout: Duration::from_secs(30),
            capabilities_timeout: Duration::from_secs(10),
            config: BTreeMap::new(),
            only_declared_config: false,
            accept_any_2xx: false,
            tcp: false,
            filter: None,
        }
    }
}

/// Configuration may hold secrets, so only its types are shown.
impl fmt::Debug for ContractOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContractOptions")
            .field("idle_timeout", &self.idle_timeout)
            .field("timeout", &self.timeout)
            .field("start_timeout", &self.start_timeout)
            .field("capabilities_timeout", &self.capabilities_timeout)
            .field("config", &self.config.keys())
            .field("only_declared_config", &self.only_declared_config)
            .field("accept_any_2xx", &self.accept_any_2xx)
            .field("tcp", &self.tcp)
            .field("filter", &self.filter.is_some())
            .finish()
    }
}
