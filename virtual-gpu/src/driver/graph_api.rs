//! Entry points for graphs as a whole: structure, instantiation, launch, update.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::error::{Code, Error, Res};
use super::graph::{EdgeData, Graph, NODES, graph, graph_of, op_of};
use super::ops::Op;
use super::table::lock;
use std::ffi::c_char;

#[unsafe(no_mangle)]
extern "C" fn cuGraphCreate(out: Out<Handle>, flags: u32) -> CuResult {
    call("cuGraphCreate", || {
        super::state::driver()?;
        out.check()?;
        if flags != 0 { Err(Code::InvalidValue.into()) } else { out.set(Graph::create().handle) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(handle: Handle) -> CuResult {
    call("cuGraphDestroy", || {
        graph(handle)?.destroy();
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphClone(out: Out<Handle>, original: Handle) -> CuResult {
    call("cuGraphClone", || {
        out.check()?;
        out.set(graph(original)?.copy().handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetId(handle: Handle, out: Out<u32>) -> CuResult {
    call("cuGraphGetId", || out.set(graph(handle)?.id))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeFindInClone(out: Out<Handle>, original: Handle, clone: Handle) -> CuResult {
    call("cuGraphNodeFindInClone", || out.set(*graph(clone)?.originals.get(&original).ok_or(Code::InvalidValue)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetType(node: Handle, out: Out<u32>) -> CuResult {
    call("cuGraphNodeGetType", || out.set(op_of(node)?.node_type()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetContainingGraph(node: Handle, out: Out<Handle>) -> CuResult {
    call("cuGraphNodeGetContainingGraph", || out.set(graph_of(node)?.handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetLocalId(node: Handle, out: Out<u32>) -> CuResult {
    call("cuGraphNodeGetLocalId", || out.set(NODES.get(node).ok_or(Code::InvalidValue)?.id))
}

/// Fills a list of a caller: with no list it gets the count, with a short one its beginning, with a long one zeros behind.
fn fill(out: Out<Handle>, count: Out<usize>, items: &[Handle]) -> Res {
    if out.is_null() {
        return count.set(items.len());
    }
    let room = count.get()?;
    for index in 0..room {
        out.set_at(index, items.get(index).copied().unwrap_or(0))?;
    }
    count.set(room.min(items.len()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetNodes(handle: Handle, out: Out<Handle>, count: Out<usize>) -> CuResult {
    call("cuGraphGetNodes", || {
        let nodes: Vec<Handle> = lock(&graph(handle)?.nodes).keys().copied().collect();
        fill(out, count, &nodes)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetRootNodes(handle: Handle, out: Out<Handle>, count: Out<usize>) -> CuResult {
    call("cuGraphGetRootNodes", || {
        let graph = graph(handle)?;
        let nodes = lock(&graph.nodes);
        let roots = nodes.iter().filter(|(_, node)| node.dependencies.is_empty()).map(|(handle, _)| *handle);
        let roots: Vec<Handle> = roots.collect();
        fill(out, count, &roots)
    })
}

fn edges(handle: Handle, from: Out<Handle>, to: Out<Handle>, data: Out<EdgeData>, count: Out<usize>) -> Res {
    let graph = graph(handle)?;
    let edges: Vec<(Handle, Handle, EdgeData)> = {
        let nodes = lock(&graph.nodes);
        let one =
            nodes.iter().flat_map(|(to, node)| node.dependencies.iter().map(move |(from, data)| (*from, *to, *data)));
        one.collect()
    };
    if from.is_null() && to.is_null() {
        return count.set(edges.len());
    }
    let room = count.get()?;
    for index in 0..room {
        let edge = edges.get(index).copied().unwrap_or((0, 0, [0; 8]));
        from.set_at(index, edge.0)?;
        to.set_at(index, edge.1)?;
        if !data.is_null() {
            data.set_at(index, edge.2)?;
        }
    }
    count.set(room.min(edges.len()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetEdges(handle: Handle, from: Out<Handle>, to: Out<Handle>, count: Out<usize>) -> CuResult {
    call("cuGraphGetEdges", || edges(handle, from, to, Out::at_address(0), count))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphGetEdges_v2(
    handle: Handle,
    from: Out<Handle>,
    to: Out<Handle>,
    data: Out<EdgeData>,
    count: Out<usize>,
) -> CuResult {
    call("cuGraphGetEdges", || edges(handle, from, to, data, count))
}

/// Fills lists of neighbours and, where asked for, of their edges.
fn neighbours(found: &[(Handle, EdgeData)], out: Out<Handle>, data: Out<EdgeData>, count: Out<usize>) -> Res {
    let nodes: Vec<Handle> = found.iter().map(|(node, _)| *node).collect();
    if !out.is_null() && !data.is_null() {
        let room = count.get()?.min(found.len());
        found[..room].iter().enumerate().try_for_each(|(index, (_, edge))| data.set_at(index, *edge))?;
    }
    fill(out, count, &nodes)
}

fn dependencies(node: Handle) -> Res<Vec<(Handle, EdgeData)>> {
    let graph = graph_of(node)?;
    let nodes = lock(&graph.nodes);
    Ok(nodes.get(&node).ok_or(Code::InvalidValue)?.dependencies.clone())
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetDependencies(node: Handle, out: Out<Handle>, count: Out<usize>) -> CuResult {
    call("cuGraphNodeGetDependencies", || neighbours(&dependencies(node)?, out, Out::at_address(0), count))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetDependencies_v2(
    node: Handle,
    out: Out<Handle>,
    data: Out<EdgeData>,
    count: Out<usize>,
) -> CuResult {
    call("cuGraphNodeGetDependencies", || neighbours(&dependencies(node)?, out, data, count))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetDependentNodes(node: Handle, out: Out<Handle>, count: Out<usize>) -> CuResult {
    call("cuGraphNodeGetDependentNodes", || {
        neighbours(&graph_of(node)?.dependents(node), out, Out::at_address(0), count)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetDependentNodes_v2(
    node: Handle,
    out: Out<Handle>,
    data: Out<EdgeData>,
    count: Out<usize>,
) -> CuResult {
    call("cuGraphNodeGetDependentNodes", || neighbours(&graph_of(node)?.dependents(node), out, data, count))
}

fn add_dependencies(handle: Handle, from: In<Handle>, to: In<Handle>, data: In<EdgeData>, count: usize) -> Res {
    let graph = graph(handle)?;
    let mut nodes = lock(&graph.nodes);
    let mut new = nodes.clone();
    for index in 0..count {
        let (from, to) = (from.at(index)?, to.at(index)?);
        let edge = if data.is_null() { [0; 8] } else { data.at(index)? };
        if from == to || !new.contains_key(&from) {
            return Err(Error::invalid("a dependency between nodes that are not two of this graph"));
        }
        let node = new.get_mut(&to).ok_or_else(|| Error::invalid("no such node in this graph"))?;
        if node.dependencies.iter().any(|(known, _)| *known == from) {
            return Err(Error::invalid("the dependency is there already"));
        }
        node.dependencies.push((from, edge));
    }
    *nodes = new;
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddDependencies(handle: Handle, from: In<Handle>, to: In<Handle>, count: usize) -> CuResult {
    call("cuGraphAddDependencies", || add_dependencies(handle, from, to, In::at_address(0), count))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddDependencies_v2(
    handle: Handle,
    from: In<Handle>,
    to: In<Handle>,
    data: In<EdgeData>,
    count: usize,
) -> CuResult {
    call("cuGraphAddDependencies", || add_dependencies(handle, from, to, data, count))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphRemoveDependencies(handle: Handle, from: In<Handle>, to: In<Handle>, count: usize) -> CuResult {
    call("cuGraphRemoveDependencies", || {
        let graph = graph(handle)?;
        let mut nodes = lock(&graph.nodes);
        let mut new = nodes.clone();
        for index in 0..count {
            let (from, to) = (from.at(index)?, to.at(index)?);
            let node = new.get_mut(&to).ok_or_else(|| Error::invalid("no such node in this graph"))?;
            let known = node.dependencies.iter().position(|(known, _)| *known == from);
            node.dependencies.remove(known.ok_or_else(|| Error::invalid("there is no such dependency"))?);
        }
        *nodes = new;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphRemoveDependencies_v2(
    handle: Handle,
    from: In<Handle>,
    to: In<Handle>,
    _data: In<EdgeData>,
    count: usize,
) -> CuResult {
    cuGraphRemoveDependencies(handle, from, to, count)
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroyNode(node: Handle) -> CuResult {
    call("cuGraphDestroyNode", || {
        let graph = graph_of(node)?;
        let mut nodes = lock(&graph.nodes);
        if matches!(nodes.get(&node).map(|node| &node.op), Some(Op::Alloc { .. } | Op::Free { .. })) {
            return Err(Error::new(Code::NotSupported, "allocation and free nodes cannot be taken out of a graph"));
        }
        nodes.remove(&node);
        nodes.values_mut().for_each(|other| other.dependencies.retain(|(from, _)| *from != node));
        NODES.remove(node);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDebugDotPrint(handle: Handle, path: In<c_char>, _flags: u32) -> CuResult {
    call("cuGraphDebugDotPrint", || {
        const TYPES: [&str; 13] = [
            "KERNEL",
            "MEMCPY",
            "MEMSET",
            "HOST",
            "GRAPH",
            "EMPTY",
            "WAIT_EVENT",
            "EVENT_RECORD",
            "SIGNAL",
            "WAIT",
            "MEM_ALLOC",
            "MEM_FREE",
            "MEM_OP",
        ];
        let graph = graph(handle)?;
        let nodes = lock(&graph.nodes);
        let mut text = String::from("digraph graph_ {\n");
        for (handle, node) in nodes.iter() {
            let mut label = TYPES[node.op.node_type() as usize].to_owned();
            if let Op::Kernel(launch) = &node.op {
                label.push_str(&format!(" {}", launch.function.entry().name));
            }
            text.push_str(&format!("  n{handle:x} [label=\"{label}\"];\n"));
            for (from, _) in &node.dependencies {
                text.push_str(&format!("  n{from:x} -> n{handle:x};\n"));
            }
        }
        text.push_str("}\n");
        let path = path.text()?;
        std::fs::write(&path, text).map_err(|error| Error::new(Code::OperatingSystem, format!("{path}: {error}")))
    })
}
