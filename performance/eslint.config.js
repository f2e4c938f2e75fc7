import js from '@eslint/js';

export default [
  { ignores: ['results/'] },
  js.configs.recommended,
  {
    rules: {
      'no-undef': 'off', // tsc knows k6's globals
      'no-shadow': 'error',
      'no-use-before-define': ['error', { functions: false }],
      'prefer-const': 'error',
      'object-shorthand': 'error',
      eqeqeq: 'error',
    },
  },
];
