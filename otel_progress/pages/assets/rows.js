// The visits of a waterfall as a tree: they come in its order, each behind the one that it lies in.

export function treeOf(visits) {
  const parent = new Int32Array(visits.length).fill(-1);
  const after = new Int32Array(visits.length); // The first visit that does not lie in it.
  const place = new Int32Array(visits.length); // Which it is among those beside it, from 1 on.
  const beside = new Int32Array(visits.length); // How many these are.
  const way = [];
  const groups = [[]];
  const close = (upTo, at) => {
    while (way.length > upTo) {
      after[way.pop()] = at;
      const group = groups.pop();
      for (const each of group) beside[each] = group.length;
    }
  };
  visits.forEach((visit, index) => {
    close(visit.depth, index);
    parent[index] = way.length ? way[way.length - 1] : -1;
    const group = groups[groups.length - 1];
    group.push(index);
    place[index] = group.length;
    way.push(index);
    groups.push([]);
  });
  close(0, visits.length);
  for (const each of groups[0]) beside[each] = groups[0].length;
  return { parent, after, place, beside, holds: (index) => after[index] > index + 1 };
}

// Which visits have a row, as those that are closed hide what lies in them.
export function rowsOf(tree, closed) {
  const rows = [];
  for (let index = 0; index < tree.after.length; index = closed.has(index) ? tree.after[index] : index + 1) rows.push(index);
  return rows;
}
