//! Language bias as rank distance (Elmahdy, Lin and Ahmad 2024, arXiv 2408.10536): how far apart a ranking over all
//! languages puts passages that answer one question equally well. Lower is better, 0 is out of reach: two passages
//! have two ranks.

use super::rank::Place;

/// Greatest rank less smallest rank of a query's relevant passages, among all passages. Needs two of them, all found.
pub(super) fn rank_distance(places: &[Place]) -> Option<u32> {
    if places.len() < 2 {
        return None;
    }
    let ranks: Option<Vec<u32>> =
        places.iter().map(|place| place.pooled.map(std::num::NonZero::get)).collect();
    let ranks = ranks?;
    Some(ranks.iter().max()? - ranks.iter().min()?)
}
