"""An encoder of the huffwire format for tests, written from docs/format.md like the decoder beside it.

It shares nothing with the decoder but the table of element types and the checksum. Where the specification leaves a
choice to the encoder, this one draws it: layouts, modes, books, bases, which zeros are coded apart, which symbols
escape. So it makes blocks that no sensible encoder would make and that every decoder must read. It does not compress
well, and it trusts its caller: with arguments that break a rule it writes a damaged message.
"""

import hashlib
import struct

from huffwire_reference import TYPES, crc32c

TYPE_NUMBERS = {type.name: number for number, type in TYPES.items()}


def u32(number):
    return struct.pack("<I", number)


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def string(text):
    data = text.encode()
    return varint(len(data)) + data


# ----------------------------------------------------------------------------------------------------------
# Codebooks and sets


def random_lengths(rng, number, longest):
    """The lengths of `number` codes that are complete together, none above `longest`."""
    lengths = [0]
    while len(lengths) < number:
        at = rng.choice([i for i, length in enumerate(lengths) if length < longest])
        lengths[at] += 1
        lengths.append(lengths[at])
    rng.shuffle(lengths)
    return lengths


class Book:
    """A codebook. `lengths` maps ordinary slots to lengths; `centred` books have width 0."""

    def __init__(self, width, longest, lengths, escape, zero=0):
        self.width, self.longest, self.lengths = width, longest, lengths
        self.escape, self.zero = escape, zero
        self.word = 8 if longest == 8 else 16

    @property
    def centred(self):
        return self.width == 0

    def serialize(self):
        first, last = min(self.lengths), max(self.lengths)
        nibbles = [self.lengths.get(slot, 0) for slot in range(first, last + 1)] + [self.escape, self.zero]
        nibbles += [0] * (len(nibbles) % 2)
        packed = [low | high << 4 for low, high in zip(nibbles[::2], nibbles[1::2])]
        return bytes([self.width << 4 | (self.longest == 12), first, last, *packed])

    def codes(self):
        """Slot (or "escape", "zero") -> (code, length), by the program of section 4.3."""
        places = {slot: slot for slot in self.lengths}
        lengths = dict(self.lengths)
        if self.escape:
            free = 62 if self.centred else min(set(range(2**self.width)) - set(self.lengths))
            places[free], lengths[free] = "escape", self.escape
        if self.zero:
            places[63], lengths[63] = "zero", self.zero
        codes, code = {}, 0
        for length in range(1, self.longest + 1):
            for slot in range(256):
                if lengths.get(slot) == length:
                    codes[places[slot]] = (code, length)
                    code += 1
            code *= 2
        return codes


def random_book(rng, width, longest, wanted=(), zero=False):
    """A book for some random slots, and for those of `wanted` as far as there is room."""
    ordinary = 62 if width == 0 else 2**width
    while True:
        most = min(ordinary, rng.choice([2, 5, 20, 64, 256]))
        slots = set(list(wanted)[:most])
        while len(slots) < rng.randint(1, most):
            slots.add(rng.randrange(ordinary))
        slots = sorted(slots)
        escape = width == 0 or len(slots) < ordinary
        lengths = random_lengths(rng, len(slots) + escape + zero, longest)
        narrow = width == 0 and longest == 8
        if narrow and sum(2.0**-length for length in lengths if length > 6) > 0.25:
            continue
        book = Book(width, longest, dict(zip(slots, lengths)), 0)
        book.escape = lengths[len(slots)] if escape else 0
        book.zero = lengths[-1] if zero else 0
        return book


def set_id(books):
    covered = b"huffwire codebook set\0" + bytes([len(books)]) + b"".join(book.serialize() for book in books)
    return hashlib.sha256(covered).digest()[:8]


def write_set(name, books, bindings=()):
    """`bindings`: (pattern, type, layout, plane, numbers of books)."""
    out = b"HUFFBOOK\x01" + string(name) + bytes([len(books)]) + b"".join(book.serialize() for book in books)
    out += varint(len(bindings))
    for pattern, type, layout, plane, numbers in bindings:
        out += string(pattern) + bytes([type, layout, plane, len(numbers), *numbers])
    return out + u32(crc32c(out))


# ----------------------------------------------------------------------------------------------------------
# Layouts: (width, centred, symbols) of every plane


def interleave(unit, units):
    groups = len(units) // 64
    out = []
    for group in range(groups):
        for p in range(64):
            out.append(units[64 * group + (p % unit) * (64 // unit) + p // unit])
    return out + units[64 * groups :]


LAYOUTS = {"exponent": 1, "magnitude": 2, "values": 3, "bytes": 4, "positions": 5, "sign-apart": 6}


def split(layout, type, data):
    """The planes of a layout, or None if the type does not have it or the data cannot be coded so."""
    name, unit = type.coded_as, type.unit
    if layout == "bytes":
        return [(8, False, list(data))]
    units = [int.from_bytes(data[at : at + unit], "little") for at in range(0, len(data), unit)]
    packed = name.endswith("packed")
    if packed:
        units = [x >> 6 * k & 0x3F for x in units for k in range(4)]
    if name in ("e3m2", "e2m3") and any(x > 0x3F for x in units):
        return None
    plain = lambda width, symbol: (width, False, [symbol(x) for x in units])  # noqa: E731
    if layout == "positions" and name in ("bf16", "f16", "f32", "word16", "word32", "word64"):
        return [plain(8, lambda x, p=p: x >> 8 * p & 0xFF) for p in range(unit)]
    if layout == "magnitude" and name in ("e4m3", "e5m2"):
        return [plain(7, lambda x: x & 0x7F), plain(1, lambda x: x >> 7)]
    if name in ("e3m2", "e2m3", "e3m2-packed", "e2m3-packed"):
        if layout == "magnitude":
            return [plain(5, lambda x: x & 0x1F), plain(1, lambda x: x >> 5)]
        if layout == "values":
            return [plain(6, lambda x: x)]
    if layout == "exponent" and name == "e8m0":
        return [(8, True, units)]
    if name not in ("bf16", "f16", "f32") or layout not in ("exponent", "sign-apart"):
        return None
    units = interleave(unit, units)
    if layout == "exponent" and name == "bf16":
        units = [x << 1 & 0xFFFF | x >> 15 for x in units]
        return [(8, True, [r >> 8 for r in units]), (8, False, [r & 0xFF for r in units])]
    if layout == "exponent" and name == "f16":
        units = [x << 1 & 0xFFFF | x >> 15 for x in units]
        rest = [(8, False, [r & 0xFF for r in units]), (3, False, [r >> 8 & 7 for r in units])]
        return [(5, True, [r >> 11 for r in units]), *rest]
    if layout == "exponent":
        units = [x << 1 & 0xFFFFFFFF | x >> 31 for x in units]
        rest = [(8, False, [r >> shift & 0xFF for r in units]) for shift in (0, 8, 16)]
        return [(8, True, [r >> 24 for r in units]), *rest]
    fields = {
        "bf16": [(8, 7), (7, 0), (1, 15)],
        "f16": [(5, 10), (8, 0), (2, 8), (1, 15)],
        "f32": [(8, 23), (8, 0), (8, 8), (7, 16), (1, 31)],
    }[name]
    planes = [(width, False, [x >> shift & 2**width - 1 for x in units]) for width, shift in fields]
    planes[0] = (planes[0][0], True, planes[0][2])
    return planes


# ----------------------------------------------------------------------------------------------------------
# The lane coder, single streams, packed symbols


def encode_lanes(book, slots, carried):
    codes = book.codes()
    v = [carried[lane] + 256 * carried[64 + lane] for lane in range(64)]
    n = [16] * 64
    stream = []
    steps = (len(slots) + 63) // 64
    for step in range(steps - 1, -1, -1):
        for lane in range(min(64, len(slots) - 64 * step)):
            code, length = codes[slots[64 * step + lane]]
            if n[lane] + length >= 16 + book.word:
                stream.append(v[lane] % 2**book.word)
                v[lane] //= 2**book.word
                n[lane] -= book.word
            v[lane] += code << n[lane]
            n[lane] += length
    states = [2**bits + value for bits, value in zip(n, v)]
    if book.longest == 8:
        by_place = [state >> shift & 0xFF for shift in (0, 8, 16) for state in states]
        return bytes(by_place), bytes(stream)
    return struct.pack("<64I", *states), struct.pack(f"<{len(stream)}H", *stream)


def encode_single(book, slots):
    codes = book.codes()
    bits = "".join(f"{codes[slot][0]:0{codes[slot][1]}b}" for slot in slots)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


def pack(symbols, width):
    number = sum(symbol << i * width for i, symbol in enumerate(symbols))
    return number.to_bytes((len(symbols) * width + 7) // 8, "little")


# ----------------------------------------------------------------------------------------------------------
# Blocks

MODES = ["raw", "constant", "lanes", "single", "lanes-embedded", "single-embedded"]


def random_slots(rng, book, symbols, base, zero_at):
    """The slots of a coded plane and its escapes. Now and then a symbol escapes that has a code."""
    slots, escapes = [], []
    wasteful = book.escape and rng.random() < 0.3
    for place, symbol in enumerate(symbols):
        slot = (symbol - base) % 256 if book.centred else symbol
        if place in zero_at:
            slots.append("zero")
        elif slot in book.lengths and not (wasteful and rng.random() < 0.05):
            slots.append(slot)
        else:
            slots.append("escape")
            escapes.append(symbol)
    return slots, bytes(escapes)


class Coded:
    """A plane as it will be written: its header, and how its part of the payload comes about."""

    def __init__(self, rng, modes, width, centred, symbols, books, zero_units=()):
        self.mode = rng.choice(modes)
        self.symbols, self.width = symbols, width
        self.zero_at = set()
        if self.mode == "constant" and len(set(symbols)) > 1:
            self.mode = "raw"
        if self.mode == "constant":
            self.header = bytes([0xFE, symbols[0] if symbols else rng.randrange(2**width)])
            return
        if self.mode == "raw":
            self.header = b"\xff"
            return
        lanes, embedded = self.mode.startswith("lanes"), self.mode.endswith("embedded")
        if centred:
            base = rng.choice([rng.randrange(256), (max(symbols, default=0) - rng.randrange(62)) % 256])
            wanted = [slot for slot in {(s - base) % 256 for s in symbols} if slot < 62]
        else:
            base, wanted = 0, list(set(symbols))
        book_width = 0 if centred else width
        if embedded:
            longest = rng.choice([8, 12]) if len(symbols) >= 4096 else 8
            book = random_book(rng, book_width, longest, wanted, zero=centred and rng.random() < 0.5)
            header = bytes([0xFD if lanes else 0xFC]) + book.serialize()
        else:
            number = rng.choice([i for i, book in enumerate(books) if book.width == book_width])
            book = books[number]
            header = bytes([number]) if lanes else bytes([0xFB, number])
        self.book = book
        if book.zero:
            share = rng.choice([0, 0.5, 1])
            self.zero_at = {place for place in zero_units if rng.random() < share}
        self.slots, self.escapes = random_slots(rng, book, symbols, base, self.zero_at)
        if lanes:
            # The length of the stream is known when the lanes carry something or nothing: it is the same.
            stream = len(encode_lanes(book, self.slots, bytes(128))[1])
            number = u32
        else:
            stream = len(encode_single(book, self.slots))
            number = varint
        if book.centred:
            header += bytes([base])
        if book.zero:
            header += number(len(self.zero_at))
        header += number(stream)
        if book.escape:
            header += number(len(self.escapes))
        self.header = header

    def append_to(self, payload):
        if self.mode == "raw":
            payload += pack(self.symbols, self.width)
        elif self.mode.startswith("single"):
            payload += encode_single(self.book, self.slots) + self.escapes
        elif self.mode.startswith("lanes"):
            taken = min(128, len(payload))
            carried = bytes(payload[len(payload) - taken :]) + bytes(128 - taken)
            del payload[len(payload) - taken :]
            states, stream = encode_lanes(self.book, self.slots, carried)
            payload += states + stream + self.escapes


def write_planes(coded):
    """The headers of some planes, plane 0 first, and their payload."""
    payload = bytearray()
    for plane in reversed(coded):
        plane.append_to(payload)
    return b"".join(plane.header for plane in coded) + bytes(payload)


def write_block(rng, type, data, books, layout=None, modes=None):
    """A block with drawn choices. `modes`: those to draw from for each plane. It may be longer than its elements."""
    layouts = [layout] if layout else [name for name in LAYOUTS if split(name, type, data) is not None]
    layout = rng.choice(layouts + ["verbatim"] * (len(layouts) > 1))
    if layout == "verbatim":
        return b"\0" + data
    planes = split(layout, type, data)
    modes = modes or [MODES] * len(planes)
    zero_units = [place for place, parts in enumerate(zip(*(plane[2] for plane in planes))) if not any(parts)]
    coded = []
    for (width, centred, symbols), modes_of_plane in zip(planes, modes):
        if coded:
            symbols = [symbol for place, symbol in enumerate(symbols) if place not in coded[0].zero_at]
        coded.append(Coded(rng, modes_of_plane, width, centred, symbols, books, zero_units))
    return bytes([LAYOUTS[layout]]) + write_planes(coded)


# ----------------------------------------------------------------------------------------------------------
# Messages and files


def message_header(type, block_size, set_id, units, flags=1, kind=0, context=None):
    flags = flags | 2 if context is not None else flags
    header = bytes([0x48, 0x10 | flags, type.number, kind << 5 | block_size]) + set_id[:4] + u32(units)
    return header + u32(crc32c(header + (struct.pack("<Q", context) if context is not None else b"")))


def write_message(header, entries):
    checksums = []
    if header[1] & 1:
        checksums = [crc32c(e) ^ crc32c(header[12:16] + u32(i) + u32(len(e))) for i, e in enumerate(entries)]
    return header + b"".join(map(u32, [*map(len, entries), *checksums])) + b"".join(entries)


def blocks_of(data, type, block_size):
    size = 2**block_size // type.unit * type.unit
    return [data[at : at + size] for at in range(0, len(data), size)]


def random_blocks(rng, type, data, books, block_size, **choices):
    """Blocks with drawn choices; those that came out too long are verbatim."""
    blocks = []
    for elements in blocks_of(data, type, block_size):
        block = write_block(rng, type, elements, books, **choices)
        blocks.append(block if len(block) <= 1 + len(elements) else b"\0" + elements)
    return blocks


def write_item(type, size, entries, set=0, kind=0, tensor=None, checked=True):
    """An item of the directory. `tensor`: name, spelled type, shape."""
    out = bytes([kind | 0x40 * (set > 0) | 0x80 * (tensor is not None)])
    if tensor is not None:
        name, spelled, shape = tensor
        out += string(name) + string(spelled) + varint(len(shape)) + b"".join(map(varint, shape))
    out += bytes([type.number]) + (varint(set) if set else b"") + varint(size)
    out += b"".join(varint(len(entry)) for entry in entries)
    return out + (b"".join(u32(crc32c(entry)) for entry in entries) if checked else b"")


def write_directory(block_size, sets, originals):
    """`sets`: (id, embedded bytes or nothing); `originals`: (name, items as bytes)."""
    out = bytes([block_size]) + varint(len(sets))
    out += b"".join(id + varint(len(embedded)) + embedded for id, embedded in sets)
    out += varint(len(originals))
    return out + b"".join(string(name) + varint(len(items)) + b"".join(items) for name, items in originals)


def write_file(entries, directory, flags=1):
    header = b"HUFFWIRE" + struct.pack("<HH", 1, flags)
    body = b"".join(entries)
    trailer = struct.pack("<QQI", 16 + len(body), len(directory), crc32c(directory)) + b"HWDE"
    return header + u32(crc32c(header)) + body + directory + trailer


# ----------------------------------------------------------------------------------------------------------
# Quantized values


class Bits:
    """Bits from the lowest of a byte up."""

    def __init__(self):
        self.bits = []

    def number(self, number, n):
        self.bits += [number >> i & 1 for i in range(n)]

    def code(self, code, length):
        """A code of a book, from its first bit on."""
        self.bits += [code >> length - 1 - i & 1 for i in range(length)]

    def gamma(self, x):
        n = (x + 1).bit_length() - 1
        self.bits += [0] * n + [1]
        self.number(x + 1, n)

    def delta(self, x):
        n = (x + 1).bit_length() - 1
        self.gamma(n)
        self.number(x + 1, n)

    def omega(self, x):
        self.omega_blocks(x + 1)
        self.bits.append(0)

    def omega_blocks(self, y):
        if y > 1:
            n = y.bit_length() - 1
            self.omega_blocks(n)
            self.bits.append(1)
            self.number(y, n)

    def fill(self):
        self.bits += [0] * (-len(self.bits) % 8)

    def bytes(self):
        self.fill()
        return pack(self.bits, 1)


def zigzag(q):
    return 2 * q if q >= 0 else -2 * q - 1


def random_runs(rng, values, longest):
    """Cuts values into runs, none above `longest(value)`; not always as long as they could be."""
    runs, at = [], 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at] and end - at < longest(values[at]) and rng.random() < 0.9:
            end += 1
        runs.append((values[at], end - at))
        at = end
    return runs


def book_stream(rng, values, alphabet):
    """Section 15.2, without the number of values."""
    if alphabet == 0:
        longest = lambda value: 1  # noqa: E731
    elif alphabet == 1:
        longest = lambda value: len(values)  # noqa: E731
    else:
        longest = lambda value: alphabet - 1 if value == 0 else 1  # noqa: E731
    runs = random_runs(rng, values, longest)
    share = rng.choice([0, 0.1, 1])
    escaped = {symbol for symbol in set(runs) if rng.random() < share}
    symbols = sorted(set(runs) - escaped, key=lambda symbol: (zigzag(symbol[0]), symbol[1]))
    has_escape = bool(escaped) or rng.random() < 0.3
    lengths = random_lengths(rng, len(symbols) + has_escape, 20)

    bits = Bits()
    bits.gamma(alphabet)
    bits.gamma(len(symbols))
    bits.number(has_escape, 1)
    before = (0, 0)
    for value, run in symbols:
        bits.gamma(zigzag(value) - before[0])
        if longest(value) > 1 or alphabet == 1:
            bits.gamma(run - 1 - (before[1] if before[0] == zigzag(value) else 0))
        before = (zigzag(value), run)
    if len(lengths) > 1:
        last = 6
        for length in lengths:
            bits.gamma(zigzag(length - last))
            last = length
    bits.fill()

    names = symbols + ["escape"] * has_escape
    codes, code = {}, 0
    if len(lengths) == 1:
        codes[names[0]] = (0, 0)
    for length in range(1, 21):
        for name, length_of_name in zip(names, lengths):
            if length_of_name == length:
                codes[name] = (code, length)
                code += 1
        code *= 2
    for symbol in runs:
        if symbol in codes and not (has_escape and rng.random() < 0.02):
            bits.code(*codes[symbol])
        else:
            bits.code(*codes["escape"])
            bits.gamma(zigzag(symbol[0]))
            bits.gamma(symbol[1] - 1)
    return bits.bytes()


def bitmap_stream(rng, values, books, depth=None, modes=None):
    """Section 15.6, without the number of values."""
    depth = rng.randrange(5) if depth is None else depth
    layers = [[min(zigzag(q), 255) for q in values]]
    for _ in range(depth):
        layers.append(list(pack([int(byte != 0) for byte in layers[-1]], 1)))
    planes = [layers[depth]] + [[byte - 1 for byte in layer if byte] for layer in reversed(layers[:depth])]
    large = [zigzag(q) - 255 for q in values if zigzag(q) >= 255]
    modes = modes or ["raw", "constant", "lanes-embedded", "single-embedded"] + (["lanes", "single"] if books else [])
    coded = [Coded(rng, modes, 8, False, symbols, books) for symbols in planes]
    out = bytes([depth]) + b"".join(varint(len(symbols)) for symbols in planes[1:])
    return out + varint(len(large)) + b"".join(map(varint, large)) + write_planes(coded)


ENCODERS = {
    "huffman": 1,
    "rlh": 2,
    "sh": 3,
    "shs": 4,
    "run-lengths": 5,
    "elias-gamma": 6,
    "elias-delta": 7,
    "elias-omega": 8,
    "qsgd-elias": 9,
    "qsgd-elias-dense": 10,
    "bitmap": 11,
    "auto": 12,
    "bitmap-fixed": 13,
}
AUTO = ["bitmap", "run-lengths", "huffman", "rlh", "qsgd-elias", "elias-gamma", "elias-delta", "elias-omega"]


def value_stream(rng, encoder, values, books=()):
    """A stream of quantized values. `books`: of a set of bitmap layers, for bitmap-fixed."""
    if encoder == "auto":
        other = rng.randrange(len(AUTO))
        return value_stream(rng, AUTO[other], values) + bytes([other])
    out = varint(len(values))
    bits = Bits()
    if encoder in ("huffman", "rlh", "sh", "shs"):
        alphabet = {"huffman": 0, "rlh": 1, "sh": 0, "shs": rng.choice([2, 3, 9, 1 + 2**16])}[encoder]
        return out + (book_stream(rng, values, alphabet) if values else b"")
    if encoder in ("bitmap", "bitmap-fixed"):
        return out + (bitmap_stream(rng, values, books) if values else b"")
    if encoder == "run-lengths":
        runs = random_runs(rng, values, lambda value: len(values))
        return out + b"".join(varint(zigzag(value)) + varint(run - 1) for value, run in runs)
    if encoder.startswith("elias"):
        code = getattr(bits, encoder.removeprefix("elias-"))
        for value, run in random_runs(rng, values, lambda value: len(values)):
            code(zigzag(value))
            code(run - 1)
    elif encoder == "qsgd-elias":
        zeros = 0
        for value in values:
            if value == 0:
                zeros += 1
            else:
                bits.omega(zeros)
                bits.number(int(value < 0), 1)
                bits.omega(abs(value) - 1)
                zeros = 0
        bits.omega(zeros)
    else:
        for value in values:
            bits.omega(abs(value))
            if value:
                bits.number(int(value < 0), 1)
    return out + bits.bytes()


def quantizer_bytes(name, bucket=0, levels=4, norm=0, clip=0.0, meaning=0, share=0.5):
    """The quantizer and its parameters, section 14.2."""
    return {
        "qsgd": lambda: b"\1" + varint(levels) + bytes([norm]) + varint(bucket),
        "terngrad": lambda: b"\2" + struct.pack("<f", clip) + varint(bucket),
        "natural": lambda: b"\3",
        "sign": lambda: bytes([4, meaning]) + varint(bucket),
        "topk": lambda: b"\5" + struct.pack("<d", share),
        "randomk": lambda: b"\6" + struct.pack("<d", share),
        "int8": lambda: b"\7" + varint(bucket),
    }[name]()


def kind_header(quantizer, encoder, shape, scales, wide=True, layers=b"", coded_scales=None):
    """Section 14.1. `scales`: a list of floats; `coded_scales`: a message in their place."""
    out = quantizer + bytes([ENCODERS[encoder], int(wide) | 2 * (coded_scales is not None)]) + layers
    out += varint(len(shape)) + b"".join(map(varint, shape)) + varint(len(scales))
    return out + (struct.pack(f"<{len(scales)}f", *scales) if coded_scales is None else coded_scales)
