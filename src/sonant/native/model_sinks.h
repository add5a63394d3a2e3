// Where an estimated model goes: text in the ARPA format as it comes, and the file that lm.h reads once all has come.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kneser_ney.h"
#include "lm_builder.h"

namespace sonant {

using Write = std::function<void(std::string_view piece)>;

class ArpaWriter final : public ModelSink {
  public:
    explicit ArpaWriter(Write write) : write_(std::move(write)) {}

    void begin(const Words& words, const std::vector<std::uint64_t>& counts) override;
    void add(int order, const std::uint32_t* words, float log_prob, float log_backoff) override;
    void end() override;

  private:
    void put_number(float value);
    void hand_over();

    Write write_;
    const Words* words_ = nullptr;
    int highest_ = 0, order_ = 0;
    std::string text_;
};

// Holds the model in memory until it is written at the end.
class LmWriter final : public ModelSink {
  public:
    LmWriter(Write write, bool small) : write_(std::move(write)), small_(small) {}

    void begin(const Words& words, const std::vector<std::uint64_t>& counts) override;
    void add(int order, const std::uint32_t* words, float log_prob, float log_backoff) override;
    void end() override;

  private:
    Write write_;
    bool small_;
    const Words* words_ = nullptr;
    std::optional<LmBuilder> builder_;
    std::vector<WordId> numbers_;  // the builder's, of our words
};

}  // namespace sonant
