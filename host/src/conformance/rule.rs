//! A case before it is judged.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::finding::{Finding, Found};
use super::report::{Case, Verdict};

/// What is required, and how that is found out about an `S`.
pub(super) struct Rule<S: ?Sized> {
    pub(super) id: &'static str,
    pub(super) required: &'static str,
    pub(super) is_must: bool,
    pub(super) needs: Needs,
    pub(super) judge: fn(&S) -> Found,
}

/// What a case cannot do without.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Needs {
    Nothing,
    /// The labels of the suite.
    Labels,
    /// These, of a plugin that takes several calls at once.
    AtOnce,
}

/// What the plugin has of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Abilities {
    pub(super) labels: bool,
    pub(super) serial: bool,
}

pub(super) const NO_LABELS: &str = "the plugin has no conformance labels";

impl<S: ?Sized> Rule<S> {
    pub(super) const fn must(
        id: &'static str,
        needs: Needs,
        required: &'static str,
        judge: fn(&S) -> Found,
    ) -> Self {
        Self {
            id,
            required,
            is_must: true,
            needs,
            judge,
        }
    }

    pub(super) const fn should(
        id: &'static str,
        needs: Needs,
        required: &'static str,
        judge: fn(&S) -> Found,
    ) -> Self {
        Self {
            is_must: false,
            ..Self::must(id, needs, required, judge)
        }
    }

    /// Judges, if the plugin has what that takes. A panic in here is a failure of the case.
    pub(super) fn case(&self, abilities: Abilities, subject: &S) -> Case {
        let lacking = match self.needs {
            Needs::Labels | Needs::AtOnce if !abilities.labels => Some(NO_LABELS),
            Needs::AtOnce if abilities.serial => Some("the plugin takes one call at a time"),
            _ => None,
        };
        if let Some(lacking) = lacking {
            return self.skipped(lacking);
        }
        let judged = catch_unwind(AssertUnwindSafe(|| (self.judge)(subject)));
        self.with(match judged {
            Ok(Ok(())) => Verdict::Passed,
            Ok(Err(Finding::Failed(why))) => Verdict::Failed(why),
            Ok(Err(Finding::Skipped(why))) => Verdict::Skipped(why),
            Err(payload) => {
                std::mem::forget(payload);
                Verdict::Failed("judging it panicked".to_owned())
            }
        })
    }

    pub(super) fn skipped(&self, why: &str) -> Case {
        self.with(Verdict::Skipped(why.to_owned()))
    }

    fn with(&self, verdict: Verdict) -> Case {
        Case {
            id: self.id,
            required: self.required,
            is_must: self.is_must,
            verdict,
        }
    }
}
