//! Circles among the files of a room.

use std::collections::{BTreeMap, BTreeSet};

/// Who imports whom.
pub(super) type Graph = BTreeMap<String, BTreeSet<String>>;

/// The members of each circle: they all reach each other.
pub(super) fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> =
        graph.keys().map(|from| (from, reachable(graph, from))).collect();
    let reaches = |from: &String, to: &String| reach.get(from).is_some_and(|all| all.contains(to));
    let mut circles: Vec<Vec<String>> = Vec::new();
    for from in graph.keys() {
        if circles.iter().any(|circle| circle.contains(from)) {
            continue;
        }
        let both = |to: &&String| reaches(from, to) && reaches(to, from);
        let circle: Vec<String> = graph.keys().filter(both).cloned().collect();
        if !circle.is_empty() {
            circles.push(circle);
        }
    }
    circles
}

/// What can be reached from `from`, by one import or more.
fn reachable<'a>(graph: &'a Graph, from: &String) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&String> = graph.get(from).into_iter().flatten().collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(graph.get(next).into_iter().flatten());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    }

    #[test]
    fn circles_are_told_once() {
        let found = circles(&graph(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("d", "e")]));
        assert_eq!(found, [["b", "c"]]);
        assert_eq!(circles(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])), [[""; 0]; 0]);
    }
}
