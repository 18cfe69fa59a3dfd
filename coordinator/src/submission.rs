//! From a request to a search that can be stored: checked, with the plans that it begins with.

use bitfront_model::SearchRequest;

use crate::error::ServiceError;
use crate::store::NewSearch;
use crate::world::World;
use crate::{intake, query};

/// Checks a request whole against the devices that are known, and finds the plans that it starts from.
pub(crate) async fn prepare(
    world: &World,
    mut request: SearchRequest,
    idempotency_key: Option<String>,
) -> Result<NewSearch, ServiceError> {
    let devices = world.store.devices().await?.into_iter();
    let devices: Vec<_> = devices.map(|device| device.registration).collect();
    let names: Vec<_> = devices.iter().map(|it| it.device.clone()).collect();
    intake::check(&request, &names)?;
    if let Some(joint) = &mut request.joint {
        let named = devices
            .iter()
            .find(|it| Some(&it.device) == request.device.as_ref());
        joint.profile = named.map(|device| device.hardware_profile.digest());
    }
    let starts = match request.start_from {
        Some(search) => query::starts(world, &request, search).await?,
        None => Vec::new(),
    };
    Ok(NewSearch {
        starts,
        request,
        idempotency_key,
    })
}
