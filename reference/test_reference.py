"""Tests of the reference decoder: python3 -m unittest discover -s reference

The encoder beside it makes blocks, messages, files and streams that use every freedom of the specification; the
decoder must give back what went in. What must be refused is in test_vectors/, which is checked here, too.
"""

import random
import re
import struct
import sys
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import huffwire_reference as reference  # noqa: E402
import reference_encoder as encoder  # noqa: E402
from check_vectors import check_manifest  # noqa: E402

FLOATS = ("bf16", "f16", "f32")


def random_set(rng):
    """Books of every alphabet, with codes of either limit."""
    books = [encoder.random_book(rng, 0, longest, zero=zero) for longest in (8, 12) for zero in (False, True)]
    books += [encoder.random_book(rng, width, longest) for width in range(1, 9) for longest in (8, 12)]
    return books


def random_elements(rng, type, units):
    """Bytes of elements: floats around a scale, zeros, odd values, or bytes that are more or less evenly spread."""
    style = rng.choice(["floats", "skewed", "skewed", "random", "constant"])
    if style == "constant":
        return rng.randbytes(type.unit) * units
    if style == "random":
        return rng.randbytes(type.unit * units)
    if style == "floats" and type.coded_as in FLOATS:
        zeros = rng.choice([0, 0.5, 0.95])
        out = bytearray()
        for _ in range(units):
            x = 0.0 if rng.random() < zeros else rng.gauss(0, 1) * rng.choice([1e-3, 1e-3, 1e-3, 100.0])
            x = rng.choice([-0.0, float("inf"), float("nan"), 1e-7]) if rng.random() < 0.01 else x
            out += struct.pack("<e", x) if type.coded_as == "f16" else struct.pack("<f", x)[-type.unit :]
        return bytes(out)
    choices = [rng.randrange(256) & rng.choice([0xFF, 0x3F, 0x07]) for _ in range(8)] + [0] * rng.choice([0, 4, 40])
    data = bytes(rng.choice(choices) for _ in range(type.unit * units))
    six_bits = type.name in ("e3m2", "e2m3") and rng.random() < 0.8
    return bytes(byte & 0x3F for byte in data) if six_bits else data


class Basics(unittest.TestCase):
    def test_checksum(self):
        self.assertEqual(reference.crc32c(b"123456789"), 0xE3069283)

    def test_varints(self):
        for number, data in [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**64 - 1, "ff" * 9 + "01")]:
            self.assertEqual(reference.Reader(bytes.fromhex(data)).varint(), number)
            self.assertEqual(encoder.varint(number), bytes.fromhex(data))
        for data in ["8000", "ff" * 9 + "02", "ff" * 10 + "01"]:
            with self.assertRaises(reference.Malformed):
                reference.Reader(bytes.fromhex(data)).varint()

    def test_example_of_a_code(self):
        """Section 4.3: plain, width 3, lengths 2 1 0 0 4 0 4 0, escape 3."""
        serialized = bytes.fromhex("300006" "12" "00" "04" "34" "00")  # nibbles 2 1 0 0 4 0 4, then 3 and 0, padding
        book = reference.read_codebook(reference.Reader(serialized))
        codes = {slot: f"{code:0{length}b}" for slot, code, length in book.codes}
        escape = reference.PLAIN_ESCAPE
        self.assertEqual(codes, {1: "0", 0: "10", escape: "110", 4: "1110", 6: "1111"})

    def test_interleaved_order(self):
        self.assertEqual(reference.interleaved_order(64, 2)[:5], [0, 32, 1, 33, 2])
        self.assertEqual(reference.interleaved_order(70, 4)[:6], [0, 16, 32, 48, 1, 17])
        self.assertEqual(reference.interleaved_order(70, 4)[64:], [64, 65, 66, 67, 68, 69])


class WorkedExample(unittest.TestCase):
    def test_section_10(self):
        """The bytes that section 10 prints are a set and two messages of one tensor, and hold what it says."""
        text = (HERE.parent / "docs" / "format.md").read_text(encoding="utf-8")
        section = text.split("\n## 10. ")[1].split("\n## 11. ")[0]
        dumps = []
        for fence in re.findall(r"```text\n(.*?)```", section, re.DOTALL):
            lines = [re.match(r" *((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  |$)", line) for line in fence.splitlines()]
            dumps.append(b"".join(bytes.fromhex(line[1]) for line in lines))
        set_bytes, message, small = dumps
        set = reference.read_set(set_bytes)
        self.assertEqual((len(set_bytes), set.id().hex()), (35, "594c4945ff0d680d"))
        self.assertEqual((len(message), len(small)), (244, 97))
        values = struct.unpack("<200H", reference.decode_message(message, [set]).data)
        self.assertEqual(reference.decode_message(small, [set]).data, struct.pack("<200H", *values))
        expected = {33: 0x6440, 5: 0x3F80, 40: 0xBF40, 97: 0x4240, 100: 0x4040}
        expected |= {161: 0x92C0, 150: 0x3FC0, 195: 0xC260, 199: 0x3F50}
        self.assertEqual({place: value for place, value in enumerate(values) if value}, expected)


class Blocks(unittest.TestCase):
    def check(self, rng, type, units, books, read_books, **choices):
        data = random_elements(rng, type, units)
        block = encoder.write_block(rng, type, data, books, **choices)
        self.assertEqual(reference.decode_block(block, type, units, read_books), data, (type.name, choices))

    def setUp(self):
        self.rng = random.Random(self.id())
        self.books = random_set(self.rng)
        self.read_books = reference.read_set(encoder.write_set("x", self.books)).books

    def test_every_layout_in_every_mode(self):
        """All planes in one mode: in lanes, the bytes that lanes carry go from plane to plane."""
        for type in reference.TYPES.values():
            for layout, number in encoder.LAYOUTS.items():
                try:
                    planes = reference.planes_of(number, type)
                except reference.Malformed:
                    self.assertIsNone(encoder.split(layout, type, bytes(type.unit)))
                    continue
                for mode in encoder.MODES:
                    units = self.rng.choice([1, 3, 64, 65, 130, 200])
                    data = random_elements(self.rng, type, units)
                    if encoder.split(layout, type, data) is None:  # 6-bit values with higher bits set
                        data = bytes(byte & 0x3F for byte in data)
                    modes = [[mode]] * len(planes)
                    block = encoder.write_block(self.rng, type, data, self.books, layout=layout, modes=modes)
                    decoded = reference.decode_block(block, type, units, self.read_books)
                    self.assertEqual(decoded, data, (type.name, layout, mode))

    def test_drawn_choices(self):
        for round in range(200):
            type = self.rng.choice(list(reference.TYPES.values()))
            self.check(self.rng, type, self.rng.randint(1, 300), self.books, self.read_books)

    def test_embedded_books_of_12_bit_codes(self):
        for type in ("bf16", "u8", "e2m3"):
            type = reference.TYPES[encoder.TYPE_NUMBERS[type]]
            self.check(self.rng, type, 4096, self.books, self.read_books, modes=[encoder.MODES[-2:]] * 2)

    def test_a_block_of_no_units(self):
        for _ in range(50):
            type = self.rng.choice(list(reference.TYPES.values()))
            self.check(self.rng, type, 0, self.books, self.read_books)

    def test_zeros_in_all_float_layouts(self):
        """Every centred book has a zero here, and two thirds of the units are exact zeros."""
        books = [encoder.random_book(self.rng, 0, longest, zero=True) for longest in (8, 12)] + self.books[4:]
        read_books = reference.read_set(encoder.write_set("x", books)).books
        for layout in ("exponent", "sign-apart"):
            for name in FLOATS:
                type = reference.TYPES[encoder.TYPE_NUMBERS[name]]
                for mode in ("lanes", "single"):
                    data = bytearray(random_elements(self.rng, type, 300))
                    for unit in range(300):
                        if unit % 3:
                            data[unit * type.unit : (unit + 1) * type.unit] = bytes(type.unit)
                    modes = [[mode]] + [encoder.MODES] * 4
                    block = encoder.write_block(self.rng, type, bytes(data), books, layout=layout, modes=modes)
                    self.assertEqual(reference.decode_block(block, type, 300, read_books), bytes(data))


class Messages(unittest.TestCase):
    def setUp(self):
        self.rng = random.Random(self.id())
        self.books = random_set(self.rng)
        self.set = reference.read_set(encoder.write_set("x", self.books))

    def message(self, type=None, units=None, context=None, flags=None):
        rng = self.rng
        type = type or rng.choice(list(reference.TYPES.values()))
        units = rng.randrange(0, 1500) // 2 * 2 if units is None else units
        block_size = rng.choice([10, 10, 11, 20])
        data = random_elements(rng, type, units)
        blocks = encoder.random_blocks(rng, type, data, self.books, block_size)
        flags = rng.randrange(2) if flags is None else flags
        header = encoder.message_header(type, block_size, self.set.id(), units, flags=flags, context=context)
        return encoder.write_message(header, blocks), type, data

    def test_every_type(self):
        for type in reference.TYPES.values():
            for context in (None, 0, 2**64 - 1):
                message, type, data = self.message(type, context=context)
                decoded = reference.decode_message(message, [self.set], context)
                self.assertEqual((decoded.type, decoded.data), (type, data))

    def test_several_sets(self):
        other = reference.read_set(encoder.write_set("other", self.books[:3]))
        message, _, data = self.message()
        self.assertEqual(reference.decode_message(message, [other, self.set]).data, data)
        with self.assertRaises(reference.WrongSet):
            reference.decode_message(message, [other])

    def test_limit(self):
        message, _, _ = self.message(reference.F32, 100)
        reference.decode_message(message, [self.set], limit=400)
        with self.assertRaises(reference.TooLarge):
            reference.decode_message(message, [self.set], limit=399)

    def test_context(self):
        message, _, _ = self.message(context=7)
        for context, error in [(None, reference.WrongContext), (8, reference.WrongChecksum)]:
            with self.assertRaises(error):
                reference.decode_message(message, [self.set], context)
        message, _, _ = self.message()
        with self.assertRaises(reference.WrongContext):
            reference.decode_message(message, [self.set], 7)

    def test_truncated_anywhere(self):
        message, _, _ = self.message(reference.BF16, 100)
        for length in range(len(message)):
            with self.assertRaises(reference.Truncated):
                reference.decode_message(message[:length], [self.set])

    def test_a_flipped_bit_is_found_by_checksums(self):
        message, _, _ = self.message(reference.BF16, 60, flags=1)
        for bit in range(8 * len(message)):
            damaged = bytearray(message)
            damaged[bit // 8] ^= 1 << bit % 8
            with self.assertRaises(reference.FormatError):
                reference.decode_message(bytes(damaged), [self.set])

    def test_damage_without_checksums_is_an_error_or_other_data(self):
        """Never another exception, and never another number of bytes."""
        for _ in range(60):
            message, type, data = self.message(units=40, flags=0)
            for _ in range(20):
                damaged = bytearray(message)
                damaged[self.rng.randrange(16, len(damaged))] = self.rng.randrange(256)
                try:
                    decoded = reference.decode_message(bytes(damaged), [self.set])
                    self.assertEqual(len(decoded.data), len(data))
                except reference.FormatError:
                    pass


class Files(unittest.TestCase):
    def test_random_files(self):
        rng = random.Random(5)
        books = random_set(rng)
        set_bytes = encoder.write_set("x", books)
        set = reference.read_set(set_bytes)
        for round in range(12):
            embedded, checked = rng.random() < 0.5, rng.random() < 0.5
            block_size = rng.choice([10, 12, 20])
            entries, originals, expected = [], [], {}
            for original in range(rng.randrange(3)):
                items, content = [], b""
                for item in range(rng.randrange(4)):
                    type = rng.choice(list(reference.TYPES.values()))
                    data = random_elements(rng, type, 2 * rng.randrange(400))
                    blocks = encoder.random_blocks(rng, type, data, books, block_size)
                    tensor = rng.choice([None, ("a.b", "F32", [3, 4]), ("\u00fc", "", [])])
                    items.append(encoder.write_item(type, len(data), blocks, tensor=tensor, checked=checked))
                    entries += blocks
                    content += data
                originals.append((f"original {original}", items))
                expected[f"original {original}"] = content
            directory = encoder.write_directory(block_size, [(set.id(), set_bytes if embedded else b"")], originals)
            file = encoder.write_file(entries, directory, flags=int(checked))
            self.assertEqual(reference.decode_file(file, [] if embedded else [set]), expected)
            if not embedded and entries:
                with self.assertRaises(reference.WrongSet):
                    reference.decode_file(file, [])


class Streams(unittest.TestCase):
    def random_values(self, rng, count):
        style = rng.choice(["few", "sparse", "wide", "runs"])
        if style == "few":
            return [rng.choice([-1, 0, 1]) for _ in range(count)]
        if style == "sparse":
            return [rng.choice([0] * 30 + [1, -5, 130]) for _ in range(count)]
        if style == "wide":
            return [rng.choice([-(2**31), 2**31 - 1, -300, rng.randrange(-99, 99)]) for _ in range(count)]
        return [value for value in range(count // 9 + 1) for _ in range(9)][:count]

    def test_every_encoder(self):
        rng = random.Random(6)
        books = [encoder.random_book(rng, 8, longest) for longest in (8, 8, 12)]
        bindings = [("*", 0, 4, 128 + layer, [0, 1, 2]) for layer in range(5)]
        read = reference.read_set(encoder.write_set("layers", books, bindings))
        self.assertTrue(read.is_of_layers())
        for name, number in encoder.ENCODERS.items():
            for count in [0, 1, 2, 40, 300, 1000, rng.randrange(400)]:
                values = self.random_values(rng, count)
                stream = encoder.value_stream(rng, name, values, books if name == "bitmap-fixed" else ())
                self.assertEqual(reference.decode_stream(number, stream, count, read.books), values, name)
                with self.assertRaises(reference.Malformed):
                    reference.decode_stream(number, stream, count + 1, read.books)
                if name != "auto":
                    with self.assertRaises(reference.Malformed):
                        reference.decode_stream(number, stream + b"\0", count, read.books)

    def test_damaged_streams(self):
        rng = random.Random(7)
        for name, number in encoder.ENCODERS.items():
            for _ in range(25):
                values = self.random_values(rng, 60)
                stream = bytearray(encoder.value_stream(rng, name, values, ()))
                stream[rng.randrange(1, len(stream))] = rng.randrange(256)
                try:
                    self.assertEqual(len(reference.decode_stream(number, bytes(stream), 60)), 60)
                except reference.FormatError:
                    pass

    def test_codes_of_elias(self):
        """Codes written out by hand from section 15.1."""
        codes = {
            "gamma": {0: "1", 1: "010", 2: "011", 3: "00100", 4: "00110"},
            "delta": {0: "1", 1: "0100", 2: "0101", 3: "01100", 4: "01110"},
            "omega": {0: "0", 1: "100", 2: "110", 3: "101000"},
        }
        for code, table in codes.items():
            for number, bits in table.items():
                data = sum(int(bit) << place for place, bit in enumerate(bits))
                reader = reference.BitReader(data.to_bytes(2, "little"))
                self.assertEqual((getattr(reader, code)(), reader.at), (number, len(bits)), (code, number))
        rng = random.Random(8)
        for code in codes:
            for number in [*range(70), 2**31, 2**32 - 2, 2**32 - 1, *(rng.randrange(2**32) for _ in range(50))]:
                bits = encoder.Bits()
                getattr(bits, code)(number)
                self.assertEqual(getattr(reference.BitReader(bits.bytes()), code)(), number)
            bits = encoder.Bits()
            getattr(bits, code)(2**32)
            with self.assertRaises(reference.Malformed):
                getattr(reference.BitReader(bits.bytes()), code)()


class Quantized(unittest.TestCase):
    def restored(self, quantizer, values, scales, type=reference.F32, coded_scales=None):
        rng = random.Random(9)
        set = reference.CodebookSet("empty", [], [])
        if coded_scales:
            data = struct.pack(f"<{len(scales)}f", *scales)
            header = encoder.message_header(reference.F32, 12, set.id(), len(scales), flags=0)
            modes = [["raw", "constant"]] * 5  # the set has no books
            blocks = encoder.random_blocks(rng, reference.F32, data, [], 12, modes=modes)
            coded_scales = encoder.write_message(header, blocks)
        name = rng.choice(["run-lengths", "huffman", "elias-omega"])
        head = encoder.kind_header(quantizer, name, [len(values)], scales, coded_scales=coded_scales)
        entries = [head] + ([encoder.value_stream(rng, name, values)] if values else [])
        header = encoder.message_header(type, 20, set.id(), len(values), kind=1)
        tensor = reference.decode_message(encoder.write_message(header, entries), [set])
        self.assertEqual(tensor.values, values)
        if type == reference.F32:
            return list(struct.unpack(f"<{len(values)}f", tensor.data))
        return tensor.data

    def test_restored_floats(self):
        q = encoder.quantizer_bytes
        self.assertEqual(self.restored(q("qsgd", levels=4), [0, 1, -4, 3], [2.0]), [0.0, 0.5, -2.0, 1.5])
        self.assertEqual(self.restored(q("qsgd", levels=4, bucket=2), [1, 1, 1], [2.0, 4.0]), [0.5, 0.5, 1.0])
        self.assertEqual(self.restored(q("terngrad", clip=2.5), [1, 0, -1], [3.0]), [3.0, 0.0, -3.0])
        self.assertEqual(self.restored(q("natural"), [0, 1, -2, 278], [8.0]), [0.0, 8.0, -4.0, 0.0])
        self.assertEqual(self.restored(q("sign", bucket=1), [1, -1], [1.5, 2.5]), [1.5, -2.5])
        self.assertEqual(self.restored(q("sign", meaning=2, bucket=2), [1, -1, -1], [1, -2, 3, -4]), [1, -2, -4])
        self.assertEqual(self.restored(q("topk"), [0, 1, 0, 1], [-1.0, 7.0]), [0.0, -1.0, 0.0, 7.0])
        self.assertEqual(self.restored(q("int8"), [127, -2], [0.5]), [63.5, -1.0])
        largest = struct.unpack("<f", bytes.fromhex("ffff7f7f"))[0]
        self.assertEqual(self.restored(q("int8"), [2, -2], [largest]), [largest, -largest])
        for quantizer in (q("qsgd"), q("sign"), q("topk")):
            self.assertEqual(self.restored(quantizer, [], []), [])

    def test_coded_scales(self):
        for scales in ([2.0, 4.0], [3.0, 3.0]):
            quantizer = encoder.quantizer_bytes("qsgd", levels=1, bucket=2)
            restored = self.restored(quantizer, [1, 1, -1], scales, coded_scales=True)
            self.assertEqual(restored, [scales[0], scales[0], -scales[1]])

    def test_rounding_to_16_bits(self):
        topk = encoder.quantizer_bytes("topk", share=1.0)
        halves = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, struct.unpack("<f", bytes.fromhex("ffff7f7f"))[0]]
        rounded = self.restored(topk, [1] * 4, halves, reference.BF16)
        self.assertEqual(rounded.hex(), "803f" "823f" "813f" "807f")
        halves = [1 + 2**-11, 1 + 3 * 2**-11, 65520.0, 2.0**-25, 2.0**-24]
        rounded = self.restored(topk, [1] * 5, halves, reference.F16)
        self.assertEqual(rounded.hex(), "003c" "023c" "007c" "0000" "0100")


class Vectors(unittest.TestCase):
    def test_all_vectors(self):
        number, failures = check_manifest(HERE.parent / "test_vectors" / "manifest.json")
        self.assertEqual(failures, [])
        self.assertGreater(number, 100)

    def test_generator_makes_the_same(self):
        """What lies in test_vectors/ is what its generator makes."""
        folder = HERE.parent / "test_vectors"
        sys.path.insert(0, str(folder))
        import generate

        made = generate.make_all()
        lying = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        lying = {path for path in lying if not path.endswith((".md", ".py", ".pyc"))}
        self.assertEqual(set(made), lying)
        for path, data in made.items():
            self.assertEqual((folder / path).read_bytes(), data, path)


if __name__ == "__main__":
    unittest.main()
