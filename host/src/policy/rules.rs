//! The operator's policy.

use std::collections::BTreeMap;
use std::time::Duration;

use plg_packaging::{Manifest, Permission, PluginName};

use super::{Level, Placed, Placement, PolicyError};
use crate::store::Installed;
use crate::transport::process::sandbox::Resources;

/// What the operator lets each plugin do: one rule for all, and others for some.
///
/// ```
/// use std::time::Duration;
///
/// use plg_host::Host;
/// use plg_host::policy::{Level, Policy, Rule};
///
/// let policy = Policy::new(Rule::new(Level::Isolated))
///     .plugin("hello".parse()?, Rule::new(Level::Trusted))
///     .plugin("fetch".parse()?, Rule::new(Level::Sandboxed).grant("network".parse()?))
///     .promote_after(Duration::from_secs(600));
/// let host = Host::builder().policy(policy).runner("/usr/bin/plg").build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Policy {
    default: Rule,
    plugins: BTreeMap<PluginName, Rule>,
    promote_after: Option<Duration>,
}

/// What one plugin may do.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Rule {
    level: Level,
    grants: Vec<Permission>,
    fallback: bool,
    resources: Resources,
}

impl Policy {
    /// A policy with this rule for every plugin that has none of its own.
    pub fn new(default: Rule) -> Self {
        Self {
            default,
            ..Self::default()
        }
    }

    /// The rule for one plugin.
    pub fn plugin(mut self, name: PluginName, rule: Rule) -> Self {
        self.plugins.insert(name, rule);
        self
    }

    /// Brings a plugin back into the host's process that the host took out of it, once it did nothing wrong for
    /// so long. Without this it stays where it is until somebody asks or another build comes.
    pub fn promote_after(mut self, clean: Duration) -> Self {
        self.promote_after = Some(clean);
        self
    }

    pub(crate) fn clean_before_promotion(&self) -> Option<Duration> {
        self.promote_after
    }

    /// The rule for a plugin of that name.
    pub fn rule(&self, name: &PluginName) -> &Rule {
        self.plugins.get(name).unwrap_or(&self.default)
    }

    /// Where a build runs.
    pub(crate) fn place(
        &self,
        manifest: &Manifest,
        installed: Option<&Installed>,
        is_program: bool,
    ) -> Result<Placed, PolicyError> {
        let name = &manifest.name;
        self.check_denied(name)?;
        let rule = self.rule(name);
        // Whoever is trusted with the process is trusted with all that it may do.
        if rule.level > Level::Signed {
            rule.check_grants(manifest)?;
        }
        let signed = installed.and_then(|installed| installed.signed_for);
        let wishes = [
            (rule.level, "the operator's policy"),
            (
                match (rule.level, signed) {
                    (Level::Signed, None) => Level::Isolated,
                    _ => signed.map_or(Level::Trusted, Level::of),
                },
                "what its signature is trusted for",
            ),
            (
                manifest.isolation.map_or(Level::Trusted, Level::of),
                "its manifest asks for it",
            ),
            (
                if is_program {
                    Level::Isolated
                } else {
                    Level::Trusted
                },
                "it is a program",
            ),
        ];
        let (mut level, mut because) = (Level::Trusted, "");
        for (wish, why) in wishes {
            if wish > level && wish > Level::Signed {
                (level, because) = (wish, why);
            }
        }
        Ok(Placed {
            placement: match level {
                Level::Sandboxed => Placement::Sandboxed,
                Level::Isolated => Placement::Isolated,
                _ => Placement::InProcess,
            },
            because: because.to_owned(),
            fallback: rule.fallback,
            insist: false,
            grants: rule.grants.clone(),
            resources: rule.resources,
        })
    }

    /// Whether a plugin of that name may run at all, wherever its code is.
    pub(crate) fn check_denied(&self, name: &PluginName) -> Result<(), PolicyError> {
        if self.rule(name).level == Level::Denied {
            let why = format!("its level is `{}`", Level::Denied);
            return Err(PolicyError::Denied {
                name: name.clone(),
                why,
            });
        }
        Ok(())
    }

    /// Whether a plugin may be brought into the host's process.
    pub(crate) fn check_inline(
        &self,
        placed: &Placed,
        name: &PluginName,
    ) -> Result<(), PolicyError> {
        match placed.placement {
            Placement::InProcess => Ok(()),
            Placement::Isolated | Placement::Sandboxed => Err(PolicyError::Denied {
                name: name.clone(),
                why: format!("it runs in a process of its own: {}", placed.because),
            }),
        }
    }
}

impl Default for Rule {
    /// Trusted, and isolated when the host has to take it out of its process.
    fn default() -> Self {
        Self::new(Level::default())
    }
}

impl Rule {
    /// A rule of that level, which grants nothing.
    pub const fn new(level: Level) -> Self {
        Self {
            level,
            grants: Vec::new(),
            fallback: true,
            resources: Resources::NONE,
        }
    }

    /// Grants a permission. It is the word that manifests ask with, and [`Grant`](crate::Grant) says what it means
    /// to a sandboxed plugin. A plugin that asks for more than it was granted is not loaded, unless it is trusted
    /// with the host's process; nor does a build that asks for more replace one that does not.
    pub fn grant(mut self, permission: Permission) -> Self {
        self.grants.push(permission);
        self
    }

    /// Whether the plugin goes on in a process of its own when the host's process is closed to it: refused by the
    /// preflight, given up after panics or a call that did not come back. It does unless this says no.
    pub const fn fallback(mut self, isolate: bool) -> Self {
        self.fallback = isolate;
        self
    }

    /// Holds the plugin's processes to these caps; those that are not set are the level's.
    pub const fn resources(mut self, caps: Resources) -> Self {
        self.resources = caps;
        self
    }

    /// How far the plugin is trusted.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// What it was granted.
    #[must_use]
    pub fn grants(&self) -> &[Permission] {
        &self.grants
    }

    fn check_grants(&self, manifest: &Manifest) -> Result<(), PolicyError> {
        let asked = manifest.permissions.iter();
        let missing = asked.filter(|permission| !self.grants.contains(permission));
        let missing: Vec<Permission> = missing.cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(PolicyError::Permissions {
            name: manifest.name.clone(),
            missing,
        })
    }
}
