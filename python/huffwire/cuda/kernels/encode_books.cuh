// Codebooks as the encoder finds them in the tables of the device.
#pragma once
#include "abi.cuh"
#include "encode_elements.cuh"

namespace encode {

constexpr u32 RESIDENT_BOOKS = 192u;

// Books that may be chosen: a bit for each number.
struct Candidates {
  u64 bits[3];
};

// Those of the books 32 chunk to 32 chunk + 31. By selections: an array that is indexed would lie in memory.
INLINE u32 candidates_of(const Candidates& candidates, u32 chunk) {
  const u64 bits = chunk < 2 ? candidates.bits[0] : chunk < 4 ? candidates.bits[1] : candidates.bits[2];
  return (u32)(bits >> 32 * (chunk & 1));
}

// The codebook set of a message.
struct BookSet {
  const u8* tables;
  const Book* books;
  u32 count;
  const u32* savings;
  const u64* candidates;
};

// Finds a set by its id. One that is not there has no books.
INLINE BookSet find_set(const u8* tables, u32 id) {
  const Tables* head = (const Tables*)tables;
  const Set* sets = (const Set*)(head + 1);
  const Book* books = (const Book*)(sets + head->sets);
  for (u32 i = 0; i < head->sets; i++) {
    if (sets[i].id != id) continue;
    return BookSet{tables, books + sets[i].first_book, sets[i].books, (const u32*)(tables + sets[i].savings),
                   (const u64*)(tables + sets[i].candidates)};
  }
  return BookSet{tables, books, 0, nullptr, nullptr};
}

// The books that are bound to a plane of a type, by the number of the type that elements are coded as.
INLINE Candidates candidates_in(const BookSet& set, u32 type, u32 plane) {
  if (!set.candidates) return Candidates{};
  const u64* bits = set.candidates + 3 * (CANDIDATE_PLANES * (type - 1) + plane);
  return Candidates{{bits[0], bits[1], bits[2]}};
}
INLINE bool is_empty(const Candidates& candidates) {
  return !(candidates.bits[0] | candidates.bits[1] | candidates.bits[2]);
}

// Whether a book has codes for plane 0.
template <class T> INLINE bool can_code(const Book& book) {
  return book.encode && book.width == (T::CENTRED ? 0 : T::SYMBOL_BITS);
}

// The book that was chosen for plane 0.
struct ChosenBook {
  const u8* codes;  // its entries
  u32 number, base;
  bool is_long, has_escape, has_zero, zeros_apart;
};

// The book of a choice; false if there is none, or if it cannot code the plane.
template <class T> INLINE bool find_book(const BookSet& set, u32 choice, ChosenBook& chosen) {
  const u32 number = choice_book(choice);
  if (choice == NO_CHOICE || number >= set.count) return false;
  const Book& book = set.books[number];
  if (!can_code<T>(book)) return false;
  chosen.codes = set.tables + book.encode;
  chosen.number = number;
  chosen.base = T::CENTRED ? choice_base(choice) : 0;
  chosen.is_long = book.limit > 8;
  chosen.has_escape = book.has_escape;
  chosen.has_zero = book.has_zero;
  chosen.zeros_apart = book.has_zero && choice & CHOICE_ZEROS_APART;
  return true;
}

}  // namespace encode
