//! Something that was found out, what it means, and what to do about it.

use serde::{Serialize, Serializer};

use crate::Error;
use crate::error::Advice;

/// What a finding means for what was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Level {
    /// It is there.
    Has,
    /// It may matter.
    Note,
    /// Without it, it does not go.
    Lacks,
}

/// Something that is there, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it means.
    pub level: Level,
    /// What there is, or is not.
    pub what: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "words")]
    pub remedy: Option<Advice>,
}

fn words<S: Serializer>(remedy: &Option<Advice>, serializer: S) -> Result<S::Ok, S::Error> {
    remedy.as_ref().map(ToString::to_string).serialize(serializer)
}

impl Finding {
    /// Something that is as it should be.
    pub(crate) fn has(what: impl Into<String>) -> Self {
        Finding { level: Level::Has, what: what.into(), remedy: None }
    }

    /// Something that may matter.
    pub(crate) fn note(what: impl Into<String>) -> Self {
        Finding { level: Level::Note, what: what.into(), remedy: None }
    }

    /// Something without which it does not go.
    pub(crate) fn lacks(what: impl Into<String>) -> Self {
        Finding { level: Level::Lacks, what: what.into(), remedy: None }
    }

    /// What an error says, and what to do about it.
    pub(crate) fn of(level: Level, error: &Error) -> Self {
        Finding { level, what: error.to_string(), remedy: error.advice() }
    }

    /// With what to do about it.
    pub(crate) fn remedy(mut self, text: impl Into<String>) -> Self {
        self.remedy = Some(Advice::Text(text.into()));
        self
    }
}
