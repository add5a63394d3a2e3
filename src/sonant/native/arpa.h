// Reads ARPA files, the text form of n-gram models, in pieces of any size.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lm_builder.h"

namespace sonant {

// Takes the layouts that SRILM, KenLM and IRSTLM write: any text before \data\, tabs or spaces, CRLF, back-off weights
// that are missing. Scores become natural logarithms. Whatever is wrong is a std::runtime_error "line N: ...".
class ArpaReader {
  public:
    void feed(std::string_view text);
    void finish();                                    // the text has ended
    LmBuilder& builder() { return *builder_; }        // after finish()
    std::uint64_t num_ngrams() const { return seen_; }  // so far
    std::uint64_t declared() const { return declared_; }

  private:
    enum class Part { preamble, counts, between, ngrams, after };

    void take_line(std::string_view line);
    void take_count(std::string_view line);
    void begin_section(std::string_view line);
    void end_section();
    void take_ngram(std::string_view line);
    WordId known_word(std::string_view word);
    [[noreturn]] void refuse(const std::string& what) const;

    std::string rest_;  // of a line whose end has not come
    Part part_ = Part::preamble;
    std::uint64_t line_ = 0;
    std::vector<std::uint64_t> counts_;  // as declared, by order
    std::uint64_t declared_ = 0, seen_ = 0, in_section_ = 0;
    int length_ = 0;
    std::unique_ptr<LmBuilder> builder_;
};

}  // namespace sonant
