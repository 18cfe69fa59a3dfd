//! Which role may make which call: the one table.

use bitfront_model::AccessRole::{self, Admin, Agent, Read, Submit};

const DEVICES: &[AccessRole] = &[Agent];
const READERS: &[AccessRole] = &[Read, Submit, Admin];
const SUBMITTERS: &[AccessRole] = &[Submit, Admin];
const ADMINISTRATORS: &[AccessRole] = &[Admin];

/// Every call with the roles that may make it; what is missing here nobody may call.
const PERMISSIONS: &[(&str, &[AccessRole])] = &[
    ("/bitfront.v1.Agents/Register", DEVICES),
    ("/bitfront.v1.Agents/Lease", DEVICES),
    ("/bitfront.v1.Agents/Heartbeat", DEVICES),
    ("/bitfront.v1.Agents/Report", DEVICES),
    ("/bitfront.v1.Agents/ReportAnswer", DEVICES),
    ("/bitfront.v1.Agents/ReportProbe", DEVICES),
    ("/bitfront.v1.Agents/Release", DEVICES),
    ("/bitfront.v1.Blobs/Fetch", DEVICES),
    ("/bitfront.v1.Blobs/Find", SUBMITTERS),
    ("/bitfront.v1.Blobs/Put", SUBMITTERS),
    ("/bitfront.v1.Searches/Submit", SUBMITTERS),
    ("/bitfront.v1.Searches/Cancel", SUBMITTERS),
    ("/bitfront.v1.Searches/Continue", SUBMITTERS),
    ("/bitfront.v1.Searches/Get", READERS),
    ("/bitfront.v1.Searches/List", READERS),
    ("/bitfront.v1.Searches/Watch", READERS),
    ("/bitfront.v1.Searches/Front", READERS),
    ("/bitfront.v1.Searches/Best", READERS),
    ("/bitfront.v1.Searches/Predict", READERS),
    ("/bitfront.v1.Searches/Fleet", READERS),
    ("/bitfront.v1.Searches/Compare", READERS),
    ("/bitfront.v1.Searches/Diff", READERS),
    ("/bitfront.v1.Searches/Devices", READERS),
    ("/bitfront.v1.Searches/Device", READERS),
    ("/bitfront.v1.Searches/Sensitivity", READERS),
    ("/bitfront.v1.Schedules/Add", SUBMITTERS),
    ("/bitfront.v1.Schedules/Pause", SUBMITTERS),
    ("/bitfront.v1.Schedules/Resume", SUBMITTERS),
    ("/bitfront.v1.Schedules/Remove", SUBMITTERS),
    ("/bitfront.v1.Schedules/List", READERS),
    ("/bitfront.v1.Schedules/Nights", READERS),
    ("/bitfront.v1.Audit/List", ADMINISTRATORS),
    ("/bitfront.v1.Tokens/Add", ADMINISTRATORS),
    ("/bitfront.v1.Tokens/List", ADMINISTRATORS),
    ("/bitfront.v1.Tokens/Revoke", ADMINISTRATORS),
];

/// The roles that may make a call, by its path; none where there is no such call.
pub(super) fn roles(path: &str) -> Option<&'static [AccessRole]> {
    let found = PERMISSIONS.iter().find(|(known, _)| *known == path);
    found.map(|(_, roles)| *roles)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_call_has_one_row_and_every_row_is_a_call() {
        let rows: Vec<_> = PERMISSIONS.iter().map(|(path, _)| *path).collect();
        let calls: BTreeSet<_> = bitfront_proto::CALLS.iter().copied().collect();
        assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), calls);
        assert_eq!(rows.len(), calls.len());
    }
}
