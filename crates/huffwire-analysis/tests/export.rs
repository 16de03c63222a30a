//! Exported codebooks code real data: the C header is compiled, and the SystemVerilog simulated where there is a simulator.

#![allow(clippy::unwrap_used, reason = "a panic is how a test says that something does not hold")]

use std::path::Path;
use std::process::Command;

use huffwire::calibrate::{Collector, Options, Profile};
use huffwire::{Codebook, CodebookSet, Dtype, Layout, SymbolRule};
use huffwire_analysis::export::{c_header, system_verilog};
use huffwire_testing::{Random, float};

/// Values like weights, as bf16.
fn weights() -> Vec<u8> {
    float::to_bf16_bytes(&Random::new(8).tensor(20_000, -6.0, 0.5))
}

/// A set with a codebook of exponents and one of bytes, made from other values.
fn set() -> CodebookSet {
    let other = float::to_bf16_bytes(&Random::new(3).tensor(20_000, -6.0, 0.5));
    let mut builder = huffwire::SetBuilder::new("exported");
    for rule in [SymbolRule::Auto, SymbolRule::Bytes] {
        let mut profile = Profile::new(Dtype::Bf16, rule);
        profile.add(&other).unwrap();
        let mut collector = Collector::new(rule);
        collector.push("*", profile).unwrap();
        let options = Options { builtin: false, ..Options::default() };
        builder.add(*collector.build(&options).unwrap().set.books()[0].lengths()).unwrap();
    }
    builder.build()
}

/// The symbols that each codebook of the set codes, and the bits that they take.
fn symbols(set: &CodebookSet) -> [(Vec<u8>, u64); 2] {
    let bytes = weights();
    let exponents = Dtype::Bf16.split(Layout::Exponent, &bytes).unwrap().swap_remove(0);
    let mean = exponents.iter().map(|e| f64::from(*e)).sum::<f64>() / exponents.len() as f64;
    let base = (mean.round() as u8).wrapping_sub(set.books()[0].lengths().origin());
    let relative: Vec<u8> = exponents.iter().map(|exponent| exponent.wrapping_sub(base)).collect();
    let bits = |book: &Codebook, symbols: &[u8]| -> u64 {
        symbols.iter().map(|symbol| u64::from(book.prices()[usize::from(*symbol)])).sum()
    };
    let (first, second) = (bits(&set.books()[0], &relative), bits(&set.books()[1], &bytes));
    [(relative, first), (bytes, second)]
}

/// Whether a program is there.
fn is_there(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|run| run.status.success())
}

fn run(command: &mut Command) -> String {
    let run = command.output().unwrap();
    assert!(run.status.success(), "{command:?}: {}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout).unwrap()
}

const PROGRAM: &str = r#"
#include "codebooks.h"
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **arguments) {
  const huffwire_book *books[] = {&huffwire_book_0, &huffwire_book_1};
  const huffwire_book *book = books[atoi(arguments[1])];
  static unsigned char symbols[1 << 20], stream[1 << 22];
  FILE *file = fopen(arguments[2], "rb");
  size_t size = fread(symbols, 1, sizeof symbols, file), end = 0, at = 0;
  for (size_t i = 0; i < size; i++) {
    uint32_t bits;
    for (unsigned left = huffwire_encode(book, symbols[i], &bits); left > 0; left--, end++)
      stream[end / 8] |= (bits >> (left - 1) & 1) << (7 - end % 8);
  }
  for (size_t i = 0; i < size; i++) {
    uint32_t next = (uint32_t)stream[at / 8] << 24 | stream[at / 8 + 1] << 16 | stream[at / 8 + 2] << 8 | stream[at / 8 + 3];
    unsigned symbol;
    int escaped;
    unsigned length = huffwire_decode(book, (next << at % 8) >> (32 - book->limit), &symbol, &escaped);
    at += length;
    if (escaped) {
      unsigned pair = (unsigned)stream[at / 8] << 8 | stream[at / 8 + 1];
      symbol = pair >> (8 - at % 8) & 0xff;
      at += 8;
    }
    if (symbol != symbols[i]) return 1;
  }
  if (at != end) return 2;
  printf("%zu", end);
  return count - 3;
}
"#;

#[test]
fn a_c_program_codes_real_data() {
    if !is_there("cc", "--version") {
        eprintln!("not checked: the exported C header, since there is no `cc`");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let set = set();
    std::fs::write(path("codebooks.h"), c_header(&set)).unwrap();
    std::fs::write(path("program.c"), PROGRAM).unwrap();
    let strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-o"];
    run(Command::new("cc").args(strict).arg(path("program")).arg(path("program.c")));
    for (number, (symbols, bits)) in symbols(&set).iter().enumerate() {
        std::fs::write(path("symbols"), symbols).unwrap();
        let said = run(Command::new(path("program")).arg(number.to_string()).arg(path("symbols")));
        assert_eq!(said, bits.to_string(), "codebook {number}");
    }
    // All built-in codebooks compile, too.
    std::fs::write(path("codebooks.h"), c_header(&CodebookSet::builtin())).unwrap();
    run(Command::new("cc")
        .args(["-std=c99", "-c", "-w", "-o"])
        .arg(path("all.o"))
        .arg(path("program.c")));
}

/// The bits that the encoder of a codebook writes, as text.
fn coded(book: &Codebook, symbols: &[u8]) -> String {
    let lengths = book.lengths();
    let code = |&symbol: &u8| {
        let ordinary = usize::from(symbol) < lengths.alphabet().symbols();
        if ordinary && lengths.direct(symbol) > 0 {
            return book.code_string(symbol);
        }
        let escape = lengths.escape_slot().map(|slot| book.code_string(slot)).unwrap_or_default();
        format!("{escape}{symbol:08b}")
    };
    symbols.iter().map(code).collect()
}

/// A bench that decodes a file of bits, and prints the symbols.
fn bench(book: usize, limit: u8, bits: usize, symbols: usize) -> String {
    format!(
        "module bench;\n  reg [0:0] stream [0:{}];\n  logic [{}:0] window;\n  wire [7:0] slot;\n  wire [3:0] bits;\n  \
         wire escape;\n  huffwire_book_{book} book(window, slot, bits, escape);\n  integer at, i, k;\n  reg [7:0] raw;\n  \
         initial begin\n    $readmemb(\"bits\", stream);\n    at = 0;\n    for (i = 0; i < {symbols}; i = i + 1) begin\n      \
         for (k = 0; k < {limit}; k = k + 1) window[{} - k] = stream[at + k];\n      #1;\n      at = at + bits;\n      \
         if (escape) begin\n        for (k = 0; k < 8; k = k + 1) raw[7 - k] = stream[at + k];\n        at = at + 8;\n        \
         $display(\"%0d\", raw);\n      end else $display(\"%0d\", slot);\n    end\n  end\nendmodule\n",
        bits + 15,
        limit - 1,
        limit - 1,
    )
}

#[test]
fn a_simulated_decoder_decodes_real_data() {
    let set = set();
    check_every_code(&set);
    if !is_there("iverilog", "-V") {
        eprintln!(
            "not checked: the exported SystemVerilog in a simulator, since there is no `iverilog` (apt-get install iverilog)"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (number, (symbols, _)) in symbols(&set).iter().enumerate() {
        simulate(folder.path(), &set, number, &symbols[..4000]);
    }
}

fn simulate(folder: &Path, set: &CodebookSet, number: usize, symbols: &[u8]) {
    let book = &set.books()[number];
    let bits = coded(book, symbols);
    let lines: Vec<String> =
        bits.chars().chain(std::iter::repeat_n('0', 16)).map(String::from).collect();
    std::fs::write(folder.join("bits"), lines.join("\n")).unwrap();
    std::fs::write(folder.join("books.sv"), system_verilog(set)).unwrap();
    let bench = bench(number, book.limit().bits(), bits.len(), symbols.len());
    std::fs::write(folder.join("bench.sv"), bench).unwrap();
    let program = folder.join("simulation");
    let sources = ["books.sv", "bench.sv"].map(|name| folder.join(name));
    run(Command::new("iverilog").args(["-g2012", "-s", "bench", "-o"]).arg(&program).args(sources));
    let said = run(Command::new("vvp").arg("-n").arg(&program).current_dir(folder));
    let decoded: Vec<u8> = said.split_whitespace().map(|symbol| symbol.parse().unwrap()).collect();
    assert!(decoded == symbols, "codebook {number}");
}

/// Each code has its line, and the patterns fill the windows without a gap.
fn check_every_code(set: &CodebookSet) {
    let text = system_verilog(set);
    let modules = text.split("endmodule").filter(|module| module.contains("casez"));
    for (module, book) in modules.zip(set.books()) {
        let lines = module.lines().filter(|line| !line.contains("default"));
        let patterns = lines.filter_map(|line| line.split("'b").nth(1)?.split(':').next());
        let space: f64 = patterns
            .map(|pattern| pattern.chars().filter(|c| *c != '?').count())
            .map(|length| 0.5f64.powi(length as i32))
            .sum();
        assert_eq!(space, 1.0, "codebook {}", book.lengths().id());
    }
}
