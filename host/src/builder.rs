//! How a host is set up.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use plg_packaging::PluginName;
use plg_plugin_api::process::wire::Pace;

use crate::contracts::{ContractOptions, Settings};
use crate::discovery::{self, DiscoverError};
use crate::error::Error;
use crate::events::{Hook, HookOptions, Hooks};
use crate::history::History;
use crate::host::{Host, HostError};
use crate::last_words::{self, Death, LastWords};
use crate::limits::Limits;
use crate::loader::Loader;
use crate::loader::image::Scratch;
use crate::loader::library;
use crate::loader::preflight::Rules;
use crate::loader::probe::Prober;
use crate::plugin::ReturnPolicy;
use crate::policy::Policy;
use crate::quarantine::Quarantine;
use crate::state::Directory;
use crate::store::{Options, Store};
use crate::transport::process::RunRoot;
use crate::transport::process::sandbox::Kernel;
use crate::trust::{self, Trust};

/// Sets up a [`Host`].
///
/// ```
/// use plg_host::Host;
///
/// let host = Host::builder().plugin_dir("plugins").build()?;
/// # Ok::<(), plg_host::Error>(())
/// ```
#[must_use]
pub struct Builder {
    directories: Vec<PathBuf>,
    contract_directories: Vec<(PathBuf, ContractOptions)>,
    settings: Settings,
    filter: Option<Filter>,
    limits: Limits,
    rules: Rules,
    allow_unsafe_directories: bool,
    image_directory: Option<PathBuf>,
    run_directory: Option<PathBuf>,
    pace: Pace,
    state_directory: Option<PathBuf>,
    home: Option<PathBuf>,
    prober: Option<PathBuf>,
    runner: Option<PathBuf>,
    policy: Policy,
    return_policy: Option<ReturnPolicy>,
    hooks: Vec<(HookOptions, Box<dyn Hook + Sync>)>,
    control: bool,
    faults: Faults,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            contract_directories: Vec::new(),
            settings: Settings::default(),
            filter: None,
            limits: Limits::default(),
            rules: Rules::default(),
            allow_unsafe_directories: false,
            image_directory: None,
            run_directory: None,
            pace: Pace::default(),
            state_directory: None,
            home: None,
            prober: None,
            runner: None,
            policy: Policy::default(),
            return_policy: Some(ReturnPolicy::default()),
            hooks: Vec::new(),
            control: false,
            faults: Faults::default(),
        }
    }
}

impl Builder {
    /// Adds a directory for [`Host::load_all`] to look through. It need not exist yet.
    pub fn plugin_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.directories.push(directory.as_ref().to_owned());
        self
    }

    /// Adds a directory for [`Host::load_all`] to look through by the rules of Skarlso's go-plugin-framework, as
    /// [`Host::load_contracts`] does.
    pub fn contract_dir(mut self, directory: impl AsRef<Path>, options: ContractOptions) -> Self {
        let directory = directory.as_ref().to_owned();
        self.contract_directories.push((directory, options));
        self
    }

    /// How plugins of that framework are run that have a `plugin.json`.
    pub fn contract_options(mut self, options: ContractOptions) -> Self {
        self.settings.options = options;
        self
    }

    /// Gives the plugin of that name this configuration: a library finds it in the context of its `init`, a program is
    /// told it when it is started. It has to fit the `config_schema` of the manifest.
    pub fn config(
        mut self,
        plugin: &PluginName,
        config: serde_json::Map<String, serde_json::Value>,
    ) -> Self {
        self.settings.config.insert(plugin.clone(), config);
        self
    }

    /// Loads only plugins whose name `wanted` says yes to, in [`Host::load_all`].
    pub fn filter(mut self, wanted: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Filter(Box::new(wanted)));
        self
    }

    /// Replaces the caps.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Replaces what the preflight allows.
    pub fn preflight(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Loads from directories that other users can write to. Whoever can write there can run code in
    /// this process.
    pub fn allow_unsafe_directories(mut self, allow: bool) -> Self {
        self.allow_unsafe_directories = allow;
        self
    }

    /// Keeps images in files in a private directory under this one, instead of in memory: for systems
    /// that do not let files in memory be mapped as code. The file of an image that is retained to the
    /// end of the process stays behind.
    pub fn image_directory(mut self, parent: impl AsRef<Path>) -> Self {
        self.image_directory = Some(parent.as_ref().to_owned());
        self
    }

    /// Has the sockets of plugins that run in processes of their own below this directory, in one that only
    /// this user can enter and that goes with the host. Without, that is `XDG_RUNTIME_DIR`, or the directory
    /// for temporary files. A path that is too long for a socket shows when such a plugin is loaded.
    pub fn run_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.run_directory = Some(directory.as_ref().to_owned());
        self
    }

    /// How eagerly calls of plugins in processes of their own are waited for; [`Pace::Balanced`] by default.
    ///
    /// With it both sides wait awake for at most 50 µs, and only while answers and calls come that fast and one
    /// caller at a time calls the plugin. [`Pace::Latency`] has them wait awake for up to 200 µs after each call,
    /// so that calls that are some way apart are as quick; that costs up to as much processor time for each. With
    /// neither does a plugin that nobody calls cost any, and on a single processor nobody waits awake.
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Keeps what outlives the host in this directory: the [history](crate::history), the
    /// [quarantine](crate::quarantine), and the last words of a host that dies of a plugin. It is made for this user alone where there is none; several hosts
    /// may have the same one. Without a state directory history and quarantine end with the host.
    ///
    /// With one, the process gets handlers for the signals that crashes raise, and one for `exit`. They note
    /// which plugin the dying thread was inside, and then let happen what would have; only `exit` from
    /// inside a plugin becomes an exit with status 70. The next host with this directory says what it was
    /// ([`Host::deaths`]) and leaves that build in quarantine.
    pub fn state_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.state_directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Has a [store](crate::store) of installed plugins in this directory, which [`Host::load_all`] loads as
    /// well, and a [trust store](crate::trust) in its directory `trust`. Both are made by the first change, for this
    /// user alone.
    pub fn home(mut self, directory: impl AsRef<Path>) -> Self {
        self.home = Some(directory.as_ref().to_owned());
        self
    }

    /// Tries every image in a child before it is mapped here. The child is `program`, which must call
    /// [`probe::run_if_asked`](crate::probe::run_if_asked): an app's own program, or `plg`.
    pub fn probe_with(mut self, program: impl AsRef<Path>) -> Self {
        self.prober = Some(program.as_ref().to_owned());
        self
    }

    /// The program that serves libraries in processes of their own: the `plg` command, or an app that calls
    /// [`runner::run_if_asked`](crate::runner::run_if_asked), itself as `/proc/self/exe`. Without one only plugins
    /// that are programs run outside of this process.
    pub fn runner(mut self, program: impl AsRef<Path>) -> Self {
        self.runner = Some(program.as_ref().to_owned());
        self
    }

    /// How far each plugin is trusted, and where it runs; by default all of them with this process.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// When the build before comes back by itself after an upgrade; `None` never.
    pub fn return_policy(mut self, policy: Option<ReturnPolicy>) -> Self {
        self.return_policy = policy;
        self
    }

    /// Lets other processes of this user, and root, [ask](crate::control) the host while it runs: `plg ps`, `plg isolate`,
    /// `plg inline` and `plg logs` do. It takes a thread that waits.
    pub fn control(mut self, control: bool) -> Self {
        self.control = control;
        self
    }

    /// Adds a hook that is asked before and told after what the host does, from the very beginning.
    pub fn hook(mut self, options: HookOptions, hook: impl Hook + Sync) -> Self {
        self.hooks.push((options, Box::new(hook)));
        self
    }

    /// Faults for tests.
    #[doc(hidden)]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Makes the host. Nothing is loaded yet.
    ///
    /// # Errors
    ///
    /// `host.images` and `host.state` when the directory for images or for state cannot be made,
    /// `dir.unsafe`, `store.unsafe` and `trust.unsafe` when others can write where it is to be.
    pub fn build(self) -> Result<Host, Error> {
        if !self.faults.no_membarrier {
            crate::plugin::gate::membarrier::register();
        }
        let limits = Arc::new(self.limits);
        let discovery = discovery::Rules::new(&limits, self.allow_unsafe_directories);
        let scratch = match self.image_directory {
            Some(parent) => {
                // Whoever can write there could put another directory in place of ours.
                let parent = match discovery::check_base(&parent, &discovery) {
                    Ok(parent) => parent,
                    Err(DiscoverError::Read { path, source }) => {
                        let parent = path;
                        return Err(HostError::Images { parent, source }.into());
                    }
                    Err(refused) => return Err(refused.into()),
                };
                match Scratch::create(&parent) {
                    Ok(scratch) => Some(Arc::new(scratch)),
                    Err(source) => return Err(HostError::Images { parent, source }.into()),
                }
            }
            None => None,
        };
        let mut deaths = Vec::new();
        let (history, quarantine, words) = match self.state_directory {
            Some(path) => {
                let directory = state_directory(path.clone(), &discovery)?;
                let quarantine = Quarantine::at(directory.clone());
                deaths = last_words::collect(&path);
                for death in &deaths {
                    death.blame(&quarantine);
                }
                let words = LastWords::create(&path);
                let words = words.map_err(|source| HostError::State { path, source })?;
                (History::at(directory), quarantine, Some(Arc::new(words)))
            }
            None => (History::in_memory(), Quarantine::in_memory(), None),
        };
        let installed = match &self.home {
            Some(home) => {
                let store = Store::open(home, Options::new().limits(limits.bundle))?;
                let trust = Trust::open(&home.join(trust::DIRECTORY))?;
                Some(Installation { store, trust })
            }
            None => None,
        };
        let hooks = Hooks::new(limits.hook);
        let mut rules = self.rules;
        rules.glibc = rules.glibc.or_else(library::glibc);
        let host = Host::new(Setup {
            directories: self.directories,
            contract_directories: self.contract_directories,
            filter: self.filter,
            discovery,
            loader: Loader {
                limits,
                rules,
                scratch,
                prober: self.prober.map(Prober::new),
                quarantine,
                words,
                spawner: Arc::default(),
                run: Arc::new(RunRoot::new(self.run_directory)),
                kernel: self.faults.kernel(),
                pulse: Arc::default(),
                hooks,
                pace: self.pace,
                settings: self.settings,
                runner: self.runner,
                unchecked: self.faults.unsettled,
            },
            return_policy: self.return_policy,
            policy: self.policy,
            history,
            installed,
            deaths,
            faults: self.faults,
        });
        for (options, hook) in self.hooks {
            host.subscribe_for_good(options, hook)?;
        }
        if self.control {
            host.inner.open_control()?;
        }
        host.tell_deaths();
        Ok(host)
    }
}

/// Makes the state directory. Whoever can write there could change what is loaded.
fn state_directory(path: PathBuf, rules: &discovery::Rules) -> Result<Directory, Error> {
    let made = Directory::create(&path);
    let directory = made.map_err(|source| HostError::State {
        path: path.clone(),
        source,
    })?;
    discovery::check_private(&path, rules)?;
    Ok(directory)
}

/// Faults that tests inject. Never set one in an app.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Unmaps a generation without waiting for the calls inside it.
    pub skip_drain: bool,
    /// Does not ask the kernel for its barrier.
    pub no_membarrier: bool,
    /// Has a watch look only when an event comes.
    pub no_rescan: bool,
    /// Has a watch take files at first sight, and the loader map them without a preflight.
    pub unsettled: bool,
    /// Takes the kernel for one with an older version of landlock, or none at 0.
    pub landlock: Option<i32>,
    /// Takes the kernel for one that filters no system calls.
    pub no_seccomp: bool,
}

impl Faults {
    fn kernel(&self) -> Kernel {
        let mut kernel = Kernel::current();
        kernel.landlock = self.landlock.unwrap_or(kernel.landlock);
        kernel.seccomp &= !self.no_seccomp;
        kernel
    }
}

/// Which plugins are wanted, by name.
pub(crate) struct Filter(pub(crate) Box<dyn Fn(&str) -> bool + Send + Sync>);

/// What is installed, and who may sign that.
pub(crate) struct Installation {
    pub(crate) store: Store,
    pub(crate) trust: Trust,
}

/// What the builder collected.
pub(crate) struct Setup {
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) contract_directories: Vec<(PathBuf, ContractOptions)>,
    pub(crate) filter: Option<Filter>,
    pub(crate) discovery: discovery::Rules,
    pub(crate) loader: Loader,
    pub(crate) return_policy: Option<ReturnPolicy>,
    pub(crate) policy: Policy,
    pub(crate) history: History,
    pub(crate) installed: Option<Installation>,
    pub(crate) deaths: Vec<Death>,
    pub(crate) faults: Faults,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("directories", &self.directories)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}
