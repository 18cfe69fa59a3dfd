//! Our own loops, compiled for wider vectors than the target's baseline.
//!
//! A binary for x86-64 may use vectors of four floats, nearly every processor that runs it has
//! those of eight, and many have those of sixteen. All forms are made from one body and give the
//! same bits: the compiler neither reorders additions nor contracts a product and a sum. So the
//! numerics class need not say which one ran.

/// How many floats a vector has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Width {
    /// What every processor of the architecture has.
    Baseline,
    /// AVX2.
    Eight,
    /// AVX-512, with its instructions for bytes, words and doubles, and for shorter vectors.
    Sixteen,
}

impl Width {
    /// That of the widest vectors which the processor has, on x86-64.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn widest() -> Self {
        let width = if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            Self::Sixteen
        } else if is_x86_feature_detected!("avx2") {
            Self::Eight
        } else {
            Self::Baseline
        };
        #[cfg(test)]
        let width = width.min(tests::MOST.get());
        width
    }
}

/// Defines a function that runs `body`, an `#[inline(always)]` function of the same signature, in
/// the form for the widest vectors that the processor has.
///
/// What `body` calls in its loops must be inlined too: only then is it compiled for these vectors.
macro_rules! widest_vectors {
    (
        $(#[$about:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?
            = $body:path
    ) => {
        $(#[$about])*
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::candle::vectors::Width;

                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn sixteen_wide($($argument: $type),*) $(-> $result)? {
                    $body($($argument),*)
                }
                #[target_feature(enable = "avx2")]
                fn eight_wide($($argument: $type),*) $(-> $result)? {
                    $body($($argument),*)
                }
                match Width::widest() {
                    // SAFETY: the processor has the features that the function is compiled for.
                    #[allow(unsafe_code)]
                    Width::Sixteen => return unsafe { sixteen_wide($($argument),*) },
                    // SAFETY: as above.
                    #[allow(unsafe_code)]
                    Width::Eight => return unsafe { eight_wide($($argument),*) },
                    Width::Baseline => {}
                }
            }
            $body($($argument),*)
        }
    };
}

pub(crate) use widest_vectors;

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::Width;

    thread_local! {
        /// What this thread makes do with.
        pub(super) static MOST: Cell<Width> = const { Cell::new(Width::Sixteen) };
    }

    /// The results of `work` on this thread in all forms that the processor has, the narrowest
    /// first.
    pub(crate) fn in_every_form<T>(mut work: impl FnMut() -> T) -> Vec<T> {
        let forms = [Width::Baseline, Width::Eight, Width::Sixteen];
        let results = forms.map(|most| {
            MOST.set(most);
            work()
        });
        MOST.set(Width::Sixteen);
        results.into()
    }
}
