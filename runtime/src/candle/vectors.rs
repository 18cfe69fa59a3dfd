//! Our own loops, compiled for wider vectors than the target's baseline.
//!
//! A binary for x86-64 may use vectors of four floats, nearly every processor that runs it has
//! those of eight. Both forms are made from one body and give the same bits: the compiler neither
//! reorders additions nor contracts a product and a sum, and no form is allowed fused
//! multiplications. So the numerics class need not say which one ran.

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
                #[target_feature(enable = "avx2")]
                fn eight_wide($($argument: $type),*) $(-> $result)? {
                    $body($($argument),*)
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has the one feature that the function is compiled for.
                    #[allow(unsafe_code)]
                    return unsafe { eight_wide($($argument),*) };
                }
            }
            $body($($argument),*)
        }
    };
}

pub(crate) use widest_vectors;
