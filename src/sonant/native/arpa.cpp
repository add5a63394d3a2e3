#include "arpa.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <stdexcept>

#include "utf8.h"

namespace sonant {

namespace {

constexpr double kLn10 = 2.302585092994045684;
constexpr std::size_t kLongestLine = 1 << 20;
constexpr double kSlightlyPositive = 1e-3;  // rounding of a probability of one

bool is_blank(char letter) { return letter == ' ' || letter == '\t' || letter == '\r'; }

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_blank(text.front()))
        text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back()))
        text.remove_suffix(1);
    return text;
}

// The next field of a line, which it is taken from; empty at the end.
std::string_view next_field(std::string_view& line) {
    std::size_t begin = 0;
    while (begin < line.size() && is_blank(line[begin]))
        ++begin;
    std::size_t end = begin;
    while (end < line.size() && !is_blank(line[end]))
        ++end;
    const std::string_view field = line.substr(begin, end - begin);
    line.remove_prefix(end);
    return field;
}

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

// strtod knows the user's decimal comma, and std::from_chars is not everywhere: decimal text to a double, all of it.
bool parse_number(std::string_view text, double& value) {
    std::size_t i = 0;
    const bool negative = !text.empty() && text[0] == '-';
    if (!text.empty() && (text[0] == '-' || text[0] == '+'))
        ++i;
    if (text.substr(i) == "inf" || text.substr(i) == "Inf" || text.substr(i) == "infinity") {
        value = negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
        return true;
    }
    std::uint64_t digits = 0;
    int scale = 0, seen = 0;
    bool point = false;
    for (; i < text.size() && (is_digit(text[i]) || (text[i] == '.' && !point)); ++i) {
        if (text[i] == '.') {
            point = true;
            continue;
        }
        ++seen;
        if (digits < 100'000'000'000'000'000u) {  // further digits are below what a float holds
            digits = digits * 10 + static_cast<std::uint64_t>(text[i] - '0');
            scale -= point;
        } else {
            scale += !point;
        }
    }
    if (seen == 0)
        return false;
    if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
        ++i;
        const bool down = i < text.size() && text[i] == '-';
        if (i < text.size() && (text[i] == '-' || text[i] == '+'))
            ++i;
        if (i == text.size())
            return false;
        int exponent = 0;
        for (; i < text.size() && is_digit(text[i]); ++i)
            exponent = exponent < 10'000 ? exponent * 10 + (text[i] - '0') : exponent;
        scale += down ? -exponent : exponent;
    }
    value = digits == 0 ? 0.0 : static_cast<double>(digits) * std::pow(10.0, scale);  // not 0 * infinity
    value = negative ? -value : value;
    return i == text.size();
}

bool parse_count(std::string_view text, std::uint64_t& value) {
    value = 0;
    for (const char letter : text) {
        if (!is_digit(letter) || value > 0xffffffffffu)
            return false;
        value = value * 10 + static_cast<std::uint64_t>(letter - '0');
    }
    return !text.empty();
}

// What stands in a file, for a message: short, and with escapes for what is no text.
std::string quoted(std::string_view text) {
    constexpr std::size_t longest = 60;
    std::size_t size = std::min(text.size(), longest);
    while (size < text.size() && size > 0 && (static_cast<unsigned char>(text[size]) & 0xc0) == 0x80)
        --size;
    const bool readable = is_utf8(text.substr(0, size));
    std::string result = "'";
    for (const char letter : text.substr(0, size)) {
        const auto byte = static_cast<unsigned char>(letter);
        if (byte >= 0x20 && byte != 0x7f && (byte < 0x80 || readable)) {
            result += letter;
        } else {
            constexpr char digits[] = "0123456789abcdef";
            result += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
        }
    }
    return result + (size < text.size() ? "...'" : "'");
}

}  // namespace

void ArpaReader::refuse(const std::string& what) const {
    throw std::runtime_error("line " + std::to_string(line_) + ": " + what);
}

void ArpaReader::feed(std::string_view text) {
    for (;;) {
        const std::size_t end = text.find('\n');
        if (rest_.size() + std::min(end, text.size()) > kLongestLine) {
            ++line_;
            refuse("it has more than a million letters");
        }
        if (end == std::string_view::npos) {
            rest_ += text;
            return;
        }
        if (rest_.empty()) {
            take_line(text.substr(0, end));
        } else {
            rest_ += text.substr(0, end);
            take_line(rest_);
            rest_.clear();
        }
        text.remove_prefix(end + 1);
    }
}

void ArpaReader::finish() {
    if (!rest_.empty())
        take_line(rest_);
    rest_.clear();
    ++line_;
    if (part_ == Part::preamble)
        refuse("the file ends, but \\data\\ was expected, with which an ARPA file begins");
    if (part_ != Part::after)
        refuse("the file ends, but \\end\\ was expected; it is cut off");
}

void ArpaReader::take_line(std::string_view line) {
    ++line_;
    const std::string_view text = trimmed(line);
    switch (part_) {
        case Part::preamble:
            if (text == "\\data\\")
                part_ = Part::counts;
            break;
        case Part::counts:
            if (text.empty())
                break;
            if (text.front() != '\\')
                take_count(text);
            else
                begin_section(text);
            break;
        case Part::between:
            if (!text.empty())
                begin_section(text);
            break;
        case Part::ngrams:
            if (text.empty()) {
                if (in_section_ > 0)  // an empty line after the head is none that ends it
                    end_section();
            } else if (text.front() == '\\' && (text == "\\end\\" || text.find("-grams:") != std::string_view::npos)) {
                end_section();
                begin_section(text);
            } else {
                take_ngram(text);
            }
            break;
        case Part::after:
            break;  // SRILM writes notes there
    }
}

// "ngram 2=10".
void ArpaReader::take_count(std::string_view line) {
    const std::size_t equals = line.find('=');
    std::uint64_t order = 0, count = 0;
    if (line.substr(0, 5) != "ngram" || equals == std::string_view::npos ||
        !parse_count(trimmed(line.substr(5, equals - 5)), order) || !parse_count(trimmed(line.substr(equals + 1)), count))
        refuse("'ngram N=COUNT' or '\\1-grams:' was expected, but " + quoted(line) + " came");
    if (order != counts_.size() + 1)
        refuse("the count of order " + std::to_string(counts_.size() + 1) + " was expected, but that of order " +
               std::to_string(order) + " came");
    if (order > static_cast<std::uint64_t>(kMaxOrder))
        refuse("an order of at most " + std::to_string(kMaxOrder) + " was expected");
    counts_.push_back(count);
    declared_ += count;
}

void ArpaReader::begin_section(std::string_view line) {
    if (counts_.empty())
        refuse("'ngram 1=COUNT' was expected, but the file declares no n-grams");
    const std::string wanted = static_cast<std::size_t>(length_) < counts_.size()
                                   ? "\\" + std::to_string(length_ + 1) + "-grams:"
                                   : "\\end\\";
    if (line != wanted)
        refuse(quoted(wanted) + " was expected, but " + quoted(line) + " came");
    if (line == "\\end\\") {
        part_ = Part::after;
        return;
    }
    if (!builder_)
        builder_ = std::make_unique<LmBuilder>(static_cast<int>(counts_.size()));
    ++length_;
    in_section_ = 0;
    part_ = Part::ngrams;
}

void ArpaReader::end_section() {
    const std::uint64_t wanted = counts_[static_cast<std::size_t>(length_ - 1)];
    if (in_section_ != wanted)
        refuse(std::to_string(wanted) + " n-grams of " + std::to_string(length_) + " words were declared, but " +
               std::to_string(in_section_) + " came");
    if (length_ == 1 && counts_.size() > 1 && declared_ < 1000 * in_section_ + 1'000'000)
        builder_->reserve(declared_ - in_section_);  // unless the head exaggerates: the table also grows by itself
    part_ = Part::between;
}

WordId ArpaReader::known_word(std::string_view word) {
    if (length_ == 1) {
        if (!is_utf8(word))
            refuse("a word is not UTF-8; convert the file to UTF-8 first");
        return builder_->words.add(word);
    }
    const WordId id = builder_->words.find(word);
    if (id == kNoWord)
        refuse(quoted(word) + " is not among the unigrams");
    return id;
}

void ArpaReader::take_ngram(std::string_view line) {
    std::string_view rest = line;
    const std::string_view score_text = next_field(rest);
    double score = 0.0, backoff = 0.0;
    std::array<WordId, kMaxOrder> words{};
    if (!parse_number(score_text, score))
        refuse("a log-probability was expected, but " + quoted(score_text) + " came");
    if (score > kSlightlyPositive)
        refuse("a log-probability cannot be positive, but it is " + quoted(score_text));
    for (int i = 0; i < length_; ++i) {
        const std::string_view word = next_field(rest);
        if (word.empty())
            refuse(std::to_string(length_) + " words were expected, but " + std::to_string(i) + " came");
        words[static_cast<std::size_t>(i)] = known_word(word);
    }
    const std::string_view backoff_text = next_field(rest);
    if (!backoff_text.empty() && (!parse_number(backoff_text, backoff) || backoff > 1e4))
        refuse("a back-off weight or the end was expected after " + std::to_string(length_) + " words, but " +
               quoted(backoff_text) + " came");
    if (const std::string_view more = next_field(rest); !more.empty())
        refuse("the end was expected, but " + quoted(more) + " came");
    const double ln_score = std::min(score, 0.0) * kLn10;
    if (!builder_->add(words.data(), length_, static_cast<float>(ln_score), static_cast<float>(backoff * kLn10)))
        refuse("this n-gram has come before");
    ++in_section_;
    ++seen_;
}

}  // namespace sonant
