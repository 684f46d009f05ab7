//! Requests to a plugin's own endpoints.

use super::gate::Refused;
use super::record::Plugin;
use super::thread::HERE;
use crate::call::CallFailure;
use crate::endpoint::{HttpError, HttpRequest, HttpResponse};
use crate::error::Error;
use crate::transport::Transport;

impl Plugin {
    /// Asks the generation that answers. It stays until the answer is there, whatever is published meanwhile.
    pub(super) fn http(&self, request: &HttpRequest) -> Result<HttpResponse, Error> {
        let label = request.label();
        let refused = |source| {
            let shown: String = label.chars().take(128).collect();
            let shown = shown.escape_debug().to_string();
            self.failed(&shown, CallFailure::Http { source })
        };
        request.check().map_err(refused)?;
        let mut context = request.context();
        // Calls may be held back, and then so is this.
        self.wait_for_resume(context.end(), || context.is_over());
        let generation = self.current();
        let generation = generation.ok_or_else(|| self.refused(&label, Refused::Empty))?;
        match &generation.transport {
            Transport::Process(process) if process.has_endpoints() => {}
            _ => return Err(refused(HttpError::NoEndpoints)),
        }
        let entry = self.labels.other();
        HERE.with(|here| self.call_with_care(here, Some(&generation), entry, &label, &mut context))
            .map_err(|error| *error)?;
        HttpResponse::from_context(context).ok_or_else(|| {
            let problem = "the plugin left no answer".to_owned();
            refused(HttpError::Request { problem })
        })
    }
}
