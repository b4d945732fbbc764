//! Splitting sources of unusual shapes and sizes, with stock pickle as the oracle.

mod split_support;

use picklet_segments::Target;
use split_support::{cut, folder, python, run_python};

/// Larger than what is looked at first, so that the scan runs in a thread of
/// its own; numbers of all widths, at every place of a block.
#[test]
fn a_source_of_many_blocks_keeps_its_values_and_sharing_at_every_protocol() {
    let Some(python) = python() else { return };
    let folder = folder();
    run_python(
        &python,
        folder.path(),
        "r = random.Random(5)
early = [('early', i) for i in range(400)]
def item(i, near):
    shared = ['s', i]
    near.append(shared)
    return {'id': i, 'name': 'n%d' % r.randrange(10**9), 'a': shared, 'b': shared, 'near': near[-20:][0],
            'early': early[r.randrange(400)], 'pad': 'x' * r.randrange(900)}
near = []
value = [item(i, near) for i in range(50_000)]
for protocol in (1, 4): pickle.dump(value, open(f'{folder}/list{protocol}.pickle', 'wb'), protocol)
pickle.dump(tuple(value), open(f'{folder}/tuple3.pickle', 'wb'), 3)
pickle.dump(tuple(value), open(f'{folder}/tuple5.pickle', 'wb'), 5)
pickle.dump(dict(enumerate(value)), open(f'{folder}/dict2.pickle', 'wb'), 2)",
    );
    for name in ["list1", "list4", "tuple3", "tuple5", "dict2"] {
        let report = cut(folder.path(), name, Target::Bytes(1_500_000)).unwrap();
        assert_eq!(report.items, 50_000, "{name}");
        assert!(report.segments.len() > 6, "{name}: {} segments", report.segments.len());
        assert!(report.shared.immutable > 0, "{name}: {:?}", report.shared);
    }
    run_python(
        &python,
        folder.path(),
        "for name in 'list1', 'list4', 'tuple3', 'tuple5', 'dict2':
    with open(f'{folder}/{name}.pickle', 'rb') as f: whole = pickle.load(f)
    if isinstance(whole, dict): whole = list(whole.values())
    at = 0
    for part in segments(name):
        if isinstance(part, dict): part = list(part.values())
        for i, item in enumerate(part):
            want = whole[at + i]
            assert item == want, (name, at + i)
            assert item['a'] is item['b']
            if want['near'] is whole[at + i - 19]['a'] and i >= 19: assert item['near'] is part[i - 19]['a']
        at += len(part)
    assert at == len(whole), name",
    );
}
