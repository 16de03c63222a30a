"""An encoder of deltas for the tests of the decoder and for test vectors. It draws what an encoder may choose."""

import huffwire_delta as delta
import huffwire_reference as reference
from reference_encoder import blocks_of, message_header, random_blocks, varint, write_message


def difference(form, base, result):
    d = (form.place(result) - form.place(base)) % 2**form.bits
    return d - 2**form.bits if d >= 2 ** (form.bits - 1) else d


def intervals_of_difference(d, sizes):
    """What `take` gets while a difference is decoded."""
    m, bits = abs(d) - 1, 0
    symbol = m
    if m >= 4:
        top = m.bit_length() - 1
        bits = top - 1
        symbol = 4 + 2 * (top - 2) + (m >> bits & 1)
    intervals = [(2**14 * (d < 0) + sum(sizes[:symbol]), sizes[symbol], 15)]
    for got in range(0, bits, 16):
        piece = min(16, bits - got)
        intervals.append((m % 2**bits >> got & 2**piece - 1, 1, piece))
    return intervals


def intervals_of_chain(form, levels, words, changes, places):
    """What `take` gets while a chain is decoded. `changes`: differences by the number of the word."""
    hazards = [delta.HAZARD[min(levels[form.class_of(words[place])][0], 64)] for place in places]
    intervals, time, last = [], 0, 0

    def pass_until(time):
        nonlocal last
        while time - last >= delta.LONGEST:
            intervals.append((0, delta.longer(delta.LONGEST), 30))
            last += delta.LONGEST

    for place, hazard in zip(places, hazards):
        if place in changes:
            pass_until(time)
            low = delta.longer(min(time + hazard - last, delta.LONGEST))
            intervals.append((low, delta.longer(time - last) - low, 30))
            level = levels[form.class_of(words[place])][1]
            intervals += intervals_of_difference(changes[place], delta.sizes_of_magnitudes(level, form.bits))
            last = time + hazard
        time += hazard
    pass_until(time)
    return intervals + [(0, delta.longer(time - last), 30)]


def encode_chain(intervals):
    state, words = delta.START, []
    for start, size, bits in reversed(intervals):
        if state >= size << 63 - bits:
            words.append(state % 2**32)
            state >>= 32
        state = (state // size << bits) + state % size + start
    return state, words[::-1]


def sparse_payload(form, base, result, model, levels, k):
    """`model`: the bytes that tell the levels."""
    words, after = form.words(base), form.words(result)
    changes = {i: difference(form, a, b) for i, (a, b) in enumerate(zip(words, after)) if a != b}
    chains = []
    for number in range(2**k):
        places = [i for i in range(len(words)) if i // delta.TILE % 2**k == number]
        chains.append(encode_chain(intervals_of_chain(form, levels, words, changes, places)))
    out = model + bytes([k]) + b"".join(varint(len(words)) for _, words in chains)
    for state, words in chains:
        out += state.to_bytes(8, "little") + b"".join(word.to_bytes(4, "little") for word in words)
    return out


def random_model(rng, form, holds):
    if holds == delta.STEP:
        return varint(rng.randrange(4 * form.classes + 100)) + bytes([rng.randrange(delta.LEVELS)])
    first = rng.randrange(form.classes)
    count = rng.randint(1, min(form.classes - first, 256))
    return bytes([first, count - 1]) + bytes(rng.randrange(delta.LEVELS) for _ in range(2 * count))


def parts(rng, type, data, books):
    log2 = rng.randint(10, 12)
    blocks = random_blocks(rng, type, data, books, log2, modes=[["raw", "single", "constant"]] * 8)
    assert len(blocks) == len(blocks_of(data, type, log2))
    return bytes([log2]) + b"".join(varint(len(block)) for block in blocks) + b"".join(blocks)


def payload(rng, type, base, result, books, holds, model=None, k=None):
    form = delta.form_of(type)
    if holds == delta.PLAIN:
        return parts(rng, type, result, books)
    if holds == delta.DENSE:
        pairs = zip(form.words(base), form.words(result))
        differences = [difference(form, a, b) for a, b in pairs]
        zigzag = [(2 * d if d >= 0 else -2 * d - 1) % 2**form.bits for d in differences]
        return parts(rng, delta.INTEGERS[form.size], form.bytes(zigzag), books)
    model = random_model(rng, form, holds) if model is None else model
    levels = delta.read_levels(reference.Reader(model), form, holds)
    return sparse_payload(form, base, result, model, levels, rng.randrange(3) if k is None else k)


def write_block(rng, type, base, result, books, holds, **choices):
    out = bytes([holds]) + delta.content_hash(base)
    if holds == delta.UNCHANGED:
        return out
    form = delta.form_of(type)
    changes = sum(a != b for a, b in zip(form.words(base), form.words(result)))
    changes = choices.pop("changes", changes)
    out += delta.content_hash(result) + varint(changes)
    return out + payload(rng, type, base, result, books, holds, **choices)


def write_delta(type, units, blocks, set_id, flags=1, context=None, kind_header=b"\1"):
    header = message_header(type, 20, set_id, units, flags=flags, kind=2, context=context)
    return write_message(header, [kind_header, *blocks])
