//! The host and its store: what is installed becomes what is loaded.

use std::path::Path;

use plg_packaging::PluginName;

use crate::builder::Installation;
use crate::error::Error;
use crate::events::{Phase, Step, Subject};
use crate::history::Why;
use crate::host::Host;
use crate::loader::Known;
use crate::plugin::Handle;
use crate::store::{Bundle, Changed, InstallOptions, Named, Store};
use crate::upgrade::{UpgradeOptions, Upgraded};

impl Host {
    /// Installs a bundle: checks every byte of it, unpacks it, and makes it what is installed of its plugin.
    /// Nothing is loaded or upgraded; ask [`load_installed`](Self::load_installed) or
    /// [`upgrade_installed`](Self::upgrade_installed) for that. Whatever goes wrong changes nothing.
    ///
    /// ```no_run
    /// use plg_host::Host;
    ///
    /// let host = Host::builder().home("/var/lib/app/plugins").build()?;
    /// host.install("hello-0.1.0.plg")?;
    /// let hello = host.load_installed("hello")?;
    /// # Ok::<(), plg_host::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `host.no_home` for a host without a [home](crate::Builder::home), and why the bundle is refused or the store
    /// cannot be changed, as [`Store::install`] says.
    pub fn install(&self, bundle: impl AsRef<Path>) -> Result<Changed, Error> {
        self.install_with(bundle, &InstallOptions::default())
    }

    /// Like [`install`](Self::install), with options.
    ///
    /// # Errors
    ///
    /// As for `install`.
    pub fn install_with(
        &self,
        bundle: impl AsRef<Path>,
        options: &InstallOptions,
    ) -> Result<Changed, Error> {
        self.inner.check_open()?;
        let path = bundle.as_ref();
        let subject = Subject {
            path: Some(path.to_owned()),
            ..Subject::default()
        };
        let install = || -> Result<Changed, Error> {
            let Installation { store, trust } = self.inner.installation()?;
            self.inner.ask(Step::Install, &subject)?;
            let judge = Named::new(trust.clone()).downgrade(options.downgrade);
            Ok(store.install(vec![Bundle::open(path)?], options, &judge)?)
        };
        match install() {
            Ok(changed) => {
                let hooks = &self.inner.hooks;
                hooks.tell(Step::Install, Phase::Done, None, || {
                    (subject, format!("set {}", changed.set.number))
                });
                Ok(changed)
            }
            Err(error) => {
                self.inner.failed(Step::Install, subject, &error);
                Err(error)
            }
        }
    }

    /// Loads the installed build of that plugin.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load); `host.no_home`; `store.not_installed`; `store.tampered` when a file is not what was
    /// installed any more; `lock.*` when it is not certain what is installed.
    pub fn load_installed(&self, name: &str) -> Result<Handle, Error> {
        self.inner.check_open()?;
        let candidate = self.installed(Step::Load, name)?;
        self.inner.load(&candidate, Known::default(), Why::Asked)
    }

    /// Replaces the plugin that is loaded by the build of it that is installed, as
    /// [`upgrade`](Self::upgrade) does.
    ///
    /// # Errors
    ///
    /// As for `upgrade` and [`load_installed`](Self::load_installed).
    pub fn upgrade_installed(&self, name: &str) -> Result<Upgraded, Error> {
        self.upgrade_installed_with(name, UpgradeOptions::default())
    }

    /// Like [`upgrade_installed`](Self::upgrade_installed), with options.
    ///
    /// # Errors
    ///
    /// As for `upgrade_installed`.
    pub fn upgrade_installed_with(
        &self,
        name: &str,
        options: UpgradeOptions,
    ) -> Result<Upgraded, Error> {
        self.inner.check_open()?;
        let plugin = self.inner.find_begun(name)?;
        let candidate = self.installed(Step::Upgrade, name)?;
        let known = Known::default();
        self.inner
            .upgrade(&plugin, &candidate, known, options, Why::Asked)
    }

    /// The store, to ask what is installed, and to remove and undo.
    ///
    /// # Errors
    ///
    /// `host.no_home` for a host without a [home](crate::Builder::home).
    pub fn store(&self) -> Result<&Store, Error> {
        Ok(&self.inner.installation()?.store)
    }

    fn installed(&self, step: Step, name: &str) -> Result<crate::Candidate, Error> {
        let Ok(known) = PluginName::new(name) else {
            return Err(self.inner.not_found(name));
        };
        self.inner.installed(&known).inspect_err(|error| {
            self.inner.failed(step, Subject::plugin(&known), error);
        })
    }
}
